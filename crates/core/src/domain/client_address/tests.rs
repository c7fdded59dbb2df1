use proptest::prelude::*;

use super::*;

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn proxies(text: &str) -> TrustedProxies {
    TrustedProxies::parse(text.split_whitespace()).unwrap()
}

const LISTED: ForwardedHeader = ForwardedHeader::XForwardedFor;
const PAIRED: ForwardedHeader = ForwardedHeader::Forwarded;

/// The address that counts for a request of `peer` with these header lines, behind proxies of `10.0.0.0/8` and `fd00::/8`.
fn seen(peer: &str, x_forwarded_for: &[&str], forwarded: &[&str]) -> String {
    let bytes = |lines: &[&str]| -> Vec<Vec<u8>> {
        lines.iter().map(|line| line.as_bytes().to_vec()).collect()
    };
    let (listed, paired) = (bytes(x_forwarded_for), bytes(forwarded));
    let listed: Vec<&[u8]> = listed.iter().map(Vec::as_slice).collect();
    let paired: Vec<&[u8]> = paired.iter().map(Vec::as_slice).collect();
    let origin = RequestOrigin {
        tcp_peer: ip(peer),
        preamble: None,
        x_forwarded_for: &listed,
        forwarded: &paired,
        other_proxy_headers: false,
    };
    let header = if forwarded.is_empty() { LISTED } else { PAIRED };
    ClientAddress::of(&origin, &proxies("10.0.0.0/8 fd00::/8"), header)
        .address
        .to_string()
}

#[test]
fn a16_h24_headers_of_a_peer_that_is_not_trusted_are_ignored() {
    assert_eq!(seen("192.0.2.1", &["198.51.100.7"], &[]), "192.0.2.1");
    assert_eq!(seen("192.0.2.1", &["127.0.0.1"], &["for=::1"]), "192.0.2.1");
    assert_eq!(seen("127.0.0.1", &["198.51.100.7"], &[]), "127.0.0.1");
}

#[test]
fn h24_x_forwarded_for_is_read_over_all_lines_from_right_to_left() {
    for (lines, expected) in [
        (&["198.51.100.7"][..], "198.51.100.7"),
        (&["203.0.113.9, 198.51.100.7"], "198.51.100.7"),
        (&["203.0.113.9", "198.51.100.7"], "198.51.100.7"),
        (&["203.0.113.9", "198.51.100.7, 10.0.0.3"], "198.51.100.7"),
        (
            &["203.0.113.9,198.51.100.7", "10.0.0.3", " 10.9.9.9 "],
            "198.51.100.7",
        ),
        (&["198.51.100.7:4711"], "198.51.100.7"),
        (&["2001:db8::7"], "2001:db8::7"),
        (&["[2001:db8::7]"], "2001:db8::7"),
        (&["[2001:db8::7]:4711, fd00::1"], "2001:db8::7"),
        (&["::ffff:198.51.100.7"], "198.51.100.7"),
        (&["198.51.100.7, ::ffff:10.0.0.2"], "198.51.100.7"),
        (&["127.0.0.1"], "127.0.0.1"),
        // All of them are proxies: the first one began.
        (&["10.0.0.3, 10.0.0.4"], "10.0.0.3"),
        (&[", 198.51.100.7,,"], "198.51.100.7"),
        // What cannot be read ends at the proxy that has reported it.
        (&["198.51.100.7, unknown"], "10.0.0.1"),
        (&["198.51.100.7, unknown, 10.0.0.3"], "10.0.0.3"),
        (&["999.1.1.1"], "10.0.0.1"),
        (&["fe80::1%eth0"], "10.0.0.1"),
        (&[""], "10.0.0.1"),
    ] {
        assert_eq!(seen("10.0.0.1", lines, &[]), expected, "{lines:?}");
    }
}

#[test]
fn h24_forwarded_is_read_likewise() {
    for (lines, expected) in [
        (&["for=198.51.100.7"][..], "198.51.100.7"),
        (
            &["For=198.51.100.7; Proto=https;by=10.0.0.1"],
            "198.51.100.7",
        ),
        (&["proto=http;for=\"198.51.100.7:80\""], "198.51.100.7"),
        (
            &["for=203.0.113.9, for=198.51.100.7, for=10.1.1.1"],
            "198.51.100.7",
        ),
        (
            &[
                "for=203.0.113.9",
                "for=\"[2001:db8::7]:4711\"",
                "for=\"[fd00::2]\"",
            ],
            "2001:db8::7",
        ),
        (
            &["for=203.0.113.9;host=\"a,b;c\\\"\", for=198.51.100.7"],
            "198.51.100.7",
        ),
        (&["for=198.51.100.7,"], "198.51.100.7"),
        // What its proxy does not say.
        (&["for=203.0.113.9, for=unknown"], "10.0.0.1"),
        (&["for=203.0.113.9, for=_hidden, for=10.0.0.7"], "10.0.0.7"),
        (&["for=203.0.113.9, proto=https"], "10.0.0.1"),
        // What is malformed may hide what a proxy has added.
        (&["for=203.0.113.9;x=\", for=198.51.100.7"], "10.0.0.1"),
        (&["for=203.0.113.9;x=\", for=\"198.51.100.7\""], "10.0.0.1"),
        (&["for=203.0.113.9;for=198.51.100.7"], "10.0.0.1"),
        (&["198.51.100.7"], "10.0.0.1"),
        (&["for"], "10.0.0.1"),
        (&["for=203.0.113.9\\", "for=198.51.100.7"], "198.51.100.7"),
    ] {
        assert_eq!(seen("10.0.0.1", &[], lines), expected, "{lines:?}");
    }
}

#[test]
fn h24_only_the_header_of_the_proxies_counts() {
    let (own, forged) = ("198.51.100.7", "203.0.113.9");
    let pair = |address| format!("for={address}");
    let seen = |listed: &str, paired: &str, header| {
        let (listed, paired) = ([listed.as_bytes()], [paired.as_bytes()]);
        let origin = RequestOrigin {
            tcp_peer: ip("10.0.0.1"),
            preamble: None,
            x_forwarded_for: &listed,
            forwarded: &paired,
            other_proxy_headers: false,
        };
        let address = ClientAddress::of(&origin, &proxies("10.0.0.0/8"), header);
        address.address.to_string()
    };
    for forged in [forged, "127.0.0.1", "nonsense", ""] {
        assert_eq!(seen(own, &pair(forged), LISTED), own);
        assert_eq!(seen(forged, &pair(own), PAIRED), own);
    }
}

#[test]
fn h24_a_preamble_names_the_peer_of_the_request() {
    let origin = |preamble, headers| RequestOrigin {
        tcp_peer: ip("127.0.0.1"),
        preamble: Some(ip(preamble)),
        x_forwarded_for: headers,
        forwarded: &[],
        other_proxy_headers: false,
    };
    let proxies = proxies("127.0.0.1 10.0.0.0/8");
    let of = |origin| ClientAddress::of(&origin, &proxies, LISTED);
    let direct = of(origin("198.51.100.7", &[]));
    assert_eq!(
        (direct.address, direct.by_proxy),
        (ip("198.51.100.7"), true)
    );
    let forged = of(origin("198.51.100.7", &[b"203.0.113.9"]));
    assert_eq!(forged.address, ip("198.51.100.7"));
    let chained = of(origin("10.0.0.5", &[b"203.0.113.9"]));
    assert_eq!(chained.address, ip("203.0.113.9"));
}

#[test]
fn h24_loopback_is_exempt_only_where_no_proxy_is_involved() {
    let block = |peer: &str, preamble: Option<&str>, header: Option<&'static [u8]>, always| {
        let lines: Vec<&[u8]> = header.into_iter().collect();
        let origin = RequestOrigin {
            tcp_peer: ip(peer),
            preamble: preamble.map(ip),
            x_forwarded_for: &lines,
            forwarded: &[],
            other_proxy_headers: false,
        };
        ClientAddress::of(&origin, &proxies("127.0.0.2"), LISTED).block(always)
    };
    let v4 = |text: &str| Some(AddressBlock::from(ip(text)));
    for loopback in ["127.0.0.1", "127.9.9.9", "::1", "::ffff:127.0.0.1"] {
        assert_eq!(block(loopback, None, None, false), None, "{loopback}");
        assert_eq!(block(loopback, None, None, true), v4(loopback));
    }
    assert_eq!(block("192.0.2.1", None, None, false), v4("192.0.2.1"));
    // A client cannot name itself loopback, and a proxy here does not exempt what it passes on, whether it is trusted or not.
    let forged: Option<&'static [u8]> = Some(b"127.0.0.1");
    assert_eq!(block("127.0.0.1", None, forged, false), v4("127.0.0.1"));
    assert_eq!(block("127.0.0.2", None, forged, false), v4("127.0.0.1"));
    assert_eq!(
        block("127.0.0.1", Some("127.0.0.1"), None, false),
        v4("127.0.0.1")
    );
    // Nor does one that writes no header, if it is declared, or one that writes others.
    assert_eq!(block("127.0.0.2", None, None, false), v4("127.0.0.2"));
    let origin = RequestOrigin {
        tcp_peer: ip("::1"),
        preamble: None,
        x_forwarded_for: &[],
        forwarded: &[],
        other_proxy_headers: true,
    };
    let undeclared = ClientAddress::of(&origin, &TrustedProxies::default(), LISTED);
    assert_eq!(undeclared.block(false), v4("::1"));
}

#[test]
fn h24_ipv6_counts_by_64_bits_and_ipv4_in_any_spelling() {
    let block = |text| AddressBlock::from(ip(text));
    assert_eq!(block("2001:db8:1:2::1"), block("2001:db8:1:2:ffff:1:2:3"));
    assert_ne!(block("2001:db8:1:2::1"), block("2001:db8:1:3::1"));
    assert_eq!(block("::ffff:192.0.2.1"), block("192.0.2.1"));
    assert_ne!(block("192.0.2.1"), block("192.0.2.2"));
    assert_eq!(block("64:ff9b::c000:201"), block("192.0.2.1"), "NAT64");
    assert_ne!(block("64:ff9b::c000:201"), block("64:ff9b::c000:202"));
}

#[test]
fn proxies_are_addresses_and_networks() {
    let all = proxies("10.0.0.1/8 192.0.2.1 2001:db8::/32 ::ffff:198.51.100.0/120");
    for inside in [
        "10.200.0.1",
        "::ffff:10.0.0.1",
        "192.0.2.1",
        "2001:db8:9::1",
        "198.51.100.77",
    ] {
        assert!(all.contains(ip(inside)), "{inside}");
    }
    for outside in [
        "11.0.0.1",
        "192.0.2.2",
        "2001:db9::1",
        "198.51.101.1",
        "::1",
    ] {
        assert!(!all.contains(ip(outside)), "{outside}");
    }
    for wrong in [
        "10.0.0.0/33",
        "proxy.example.com",
        "10.0.0",
        "*",
        "0.0.0.0/0",
        "::/0",
        "::ffff:0.0.0.0/96",
        "::ffff:10.0.0.0/95",
    ] {
        let parsed = TrustedProxies::parse([wrong].into_iter());
        assert!(parsed.is_err(), "{wrong}: {parsed:?}");
    }
}

fn line() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop::sample::select(vec![
        "for=",
        "\"",
        "\\",
        ",",
        ";",
        "=",
        " ",
        "10.0.0.1",
        "203.0.113.9",
        "[::1]",
        ":80",
        "unknown",
        "\u{e9}",
    ]);
    let pieces =
        prop::collection::vec(piece, 0..12).prop_map(|pieces| pieces.concat().into_bytes());
    prop_oneof![pieces, prop::collection::vec(any::<u8>(), 0..60)]
}

proptest! {
    #[test]
    fn h24_no_bytes_of_a_header_panic_and_none_count_from_a_stranger(
        listed in prop::collection::vec(line(), 0..4),
        paired in prop::collection::vec(line(), 0..4),
    ) {
        let listed: Vec<&[u8]> = listed.iter().map(Vec::as_slice).collect();
        let paired: Vec<&[u8]> = paired.iter().map(Vec::as_slice).collect();
        let origin = |peer| RequestOrigin {
            tcp_peer: ip(peer),
            preamble: None,
            x_forwarded_for: &listed,
            forwarded: &paired,
            other_proxy_headers: false,
        };
        let proxies = proxies("10.0.0.0/8");
        for header in [LISTED, PAIRED] {
            ClientAddress::of(&origin("10.0.0.1"), &proxies, header);
            let stranger = ClientAddress::of(&origin("192.0.2.1"), &proxies, header);
            prop_assert_eq!(stranger.address, ip("192.0.2.1"));
        }
    }

    /// Whatever the client has written, what the proxy appends to it, in the same line or in one of its own, counts.
    #[test]
    fn h24_a_client_cannot_talk_its_way_past_what_a_proxy_appends(client in line(), own_line in any::<bool>()) {
        let appended = |separator: &[u8], hop: &[u8]| -> Vec<Vec<u8>> {
            if own_line {
                vec![client.clone(), hop.to_vec()]
            } else {
                vec![[&client, separator, hop].concat()]
            }
        };
        let address = |listed: &[Vec<u8>], paired: &[Vec<u8>]| {
            let listed: Vec<&[u8]> = listed.iter().map(Vec::as_slice).collect();
            let paired: Vec<&[u8]> = paired.iter().map(Vec::as_slice).collect();
            let origin = RequestOrigin {
                tcp_peer: ip("10.0.0.1"),
                preamble: None,
                x_forwarded_for: &listed,
                forwarded: &paired,
                other_proxy_headers: false,
            };
            let header = if paired.is_empty() { LISTED } else { PAIRED };
            ClientAddress::of(&origin, &proxies("10.0.0.0/8"), header).address
        };
        let client = ip("198.51.100.7");
        prop_assert_eq!(address(&appended(b", ", b"198.51.100.7"), &[]), client);
        for hop in [b"for=198.51.100.7".as_slice(), b"for=\"198.51.100.7:80\";proto=https"] {
            let seen = address(&[], &appended(b", ", hop));
            prop_assert!(seen == client || seen == ip("10.0.0.1"), "{}", seen);
        }
    }
}
