//! The hops in `X-Forwarded-For` and `Forwarded` (RFC 7239), from right to left. `None` stands for one that cannot be read.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};

/// `client, proxy, proxy`: of all lines.
pub(super) fn listed<'a>(lines: &'a [&'a [u8]]) -> impl Iterator<Item = Option<IpAddr>> + 'a {
    lines.iter().rev().flat_map(|line| {
        let elements = line.rsplit(|byte| *byte == b',').map(<[u8]>::trim_ascii);
        elements
            .filter(|element| !element.is_empty())
            .map(|element| node(std::str::from_utf8(element).ok()?))
    })
}

/// `for=client;proto=https, for=proxy`: of all lines.
pub(super) fn paired<'a>(lines: &'a [&'a [u8]]) -> impl Iterator<Item = Option<IpAddr>> + 'a {
    lines.iter().rev().flat_map(|line| {
        let hops = std::str::from_utf8(line).ok().and_then(elements);
        // A quote that the client has opened may hide what a proxy has added, so of a line that is malformed nothing counts.
        hops.unwrap_or_else(|| vec![None]).into_iter().rev()
    })
}

/// An address, alone or with a port.
fn node(text: &str) -> Option<IpAddr> {
    let bracketed = |text: &str| text.strip_prefix('[')?.strip_suffix(']')?.parse().ok();
    let address = (text.parse::<IpAddr>().ok())
        .or_else(|| text.parse::<SocketAddr>().ok().map(|it| it.ip()))
        .or_else(|| bracketed(text).map(|it: Ipv6Addr| IpAddr::V6(it)))?;
    Some(address.to_canonical())
}

/// The hops of one line, from left to right. `None`: it is malformed.
fn elements(line: &str) -> Option<Vec<Option<IpAddr>>> {
    let mut hops = Vec::new();
    let mut rest = line;
    loop {
        let (element, after) = element(rest)?;
        hops.extend(element);
        match after {
            Some(after) => rest = after,
            None => return Some(hops),
        }
    }
}

/// The hop of the first element (`None` if it is empty), and what follows its comma.
#[expect(
    clippy::option_option,
    reason = "an element may be absent, and one that is there unreadable"
)]
fn element(line: &str) -> Option<(Option<Option<IpAddr>>, Option<&str>)> {
    let mut hop = None;
    let mut has_pairs = false;
    let mut rest = line.trim_start_matches([' ', '\t']);
    loop {
        let end = rest.find([';', ',', '=', '"']).unwrap_or(rest.len());
        let name = rest[..end].trim_matches([' ', '\t']);
        rest = &rest[end..];
        if let Some(value) = rest.strip_prefix('=') {
            let (value, after) = value_of(value)?;
            rest = after;
            has_pairs = true;
            if name.eq_ignore_ascii_case("for") {
                if hop.is_some() {
                    return None;
                }
                hop = Some(node(&value));
            }
        } else if !name.is_empty() {
            return None;
        }
        let mut following = rest.chars();
        match following.next() {
            Some(';') => rest = following.as_str(),
            Some(',') => return Some((hop_of(has_pairs, hop), Some(following.as_str()))),
            None => return Some((hop_of(has_pairs, hop), None)),
            Some(_) => return None,
        }
    }
}

/// An element without `for` is a hop of which nothing is known.
#[expect(clippy::option_option, reason = "see `element`")]
fn hop_of(has_pairs: bool, hop: Option<Option<IpAddr>>) -> Option<Option<IpAddr>> {
    hop.or(has_pairs.then_some(None))
}

/// The value of a pair, and what follows it and the white space behind.
fn value_of(text: &str) -> Option<(String, &str)> {
    let Some(quoted) = text.strip_prefix('"') else {
        let end = text.find([';', ',', '"']).unwrap_or(text.len());
        let value = text[..end].trim_matches([' ', '\t']);
        return Some((value.to_owned(), &text[end..]));
    };
    let mut value = String::new();
    let mut letters = quoted.chars();
    loop {
        match letters.next()? {
            '"' => break,
            '\\' => value.push(letters.next()?),
            letter => value.push(letter),
        }
    }
    Some((value, letters.as_str().trim_start_matches([' ', '\t'])))
}
