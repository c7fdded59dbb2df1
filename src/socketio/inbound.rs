//! What a client sends, looked at before the library does: it bounds only the whole of a payload, and closes the transport
//! without a word when it cannot read the name of an event.

use axum::body::{Body, Bytes};
use axum::http::{Request, header};
use http_body_util::{BodyExt, Limited};

use super::NAMESPACES;
use super::event_name::legible;

/// Between the packets of a polling payload (Engine.IO protocol 4).
const SEPARATOR: u8 = 0x1e;

/// The packets of a polling payload, in either direction.
pub(super) fn packets(payload: &[u8]) -> impl Iterator<Item = &[u8]> {
    payload.split(|byte| *byte == SEPARATOR)
}

/// Packets of one payload. Stock clients send what they have at once, which is far less.
const MAX_PACKETS: usize = 1024;

/// Why a payload is not given to the library.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum PayloadDefect {
    /// It is larger than a payload may be, or did not come whole.
    Unreadable,
    /// No client of ours sends this: too large a packet, or a namespace that is not there. The library would
    /// echo the name of such a namespace, past the bound of the send budget.
    Abuse,
    /// Too many packets.
    Flood,
}

/// A request whose body the library may have.
pub(super) struct ReadPayload {
    pub(super) request: Request<Body>,
    pub(super) packets: usize,
    /// So many of them acknowledge events.
    pub(super) acknowledgements: usize,
}

/// Reads the body, and gives the request back with the same body if the library may have it.
pub(super) async fn read(
    request: Request<Body>,
    max_payload: usize,
    max_packet: usize,
) -> Result<ReadPayload, PayloadDefect> {
    let (parts, body) = request.into_parts();
    let body = Limited::new(body, max_payload)
        .collect()
        .await
        .map_err(|_| PayloadDefect::Unreadable)?
        .to_bytes();
    let count = check(&body, max_packet)?;
    let acknowledges = |packet: &&[u8]| packet.starts_with(b"43") || packet.starts_with(b"46");
    let acknowledgements = packets(&body).filter(acknowledges).count();
    let body = legible_payload(&body).map_or(Body::from(body), Body::from);
    // What is known of the length is that of the body before.
    let mut parts = parts;
    parts.headers.remove(header::CONTENT_LENGTH);
    Ok(ReadPayload {
        request: Request::from_parts(parts, body),
        packets: count,
        acknowledgements,
    })
}

/// The payload with each event in a form that the library reads; `None`: it has it already.
fn legible_payload(body: &[u8]) -> Option<Vec<u8>> {
    let legible: Vec<Option<Vec<u8>>> = packets(body).map(legible).collect();
    if legible.iter().all(Option::is_none) {
        return None;
    }
    let packets = packets(body).zip(&legible);
    let packets: Vec<&[u8]> = packets
        .map(|(packet, legible)| legible.as_deref().unwrap_or(packet))
        .collect();
    Some(packets.join(&SEPARATOR))
}

/// How many packets there are.
fn check(body: &Bytes, max_packet: usize) -> Result<usize, PayloadDefect> {
    let count = packets(body).take(MAX_PACKETS + 1).count();
    if count > MAX_PACKETS {
        return Err(PayloadDefect::Flood);
    }
    let fits =
        |packet: &[u8]| packet.len() <= max_packet && connects_to(packet).is_none_or(is_ours);
    let all_fit = packets(body).all(fits);
    all_fit.then_some(count).ok_or(PayloadDefect::Abuse)
}

/// The namespace of a CONNECT that names one: `40/name,…`.
fn connects_to(packet: &[u8]) -> Option<&[u8]> {
    let rest = packet
        .strip_prefix(b"40")
        .filter(|rest| rest.starts_with(b"/"))?;
    rest.split(|byte| *byte == b',' || *byte == b'?').next()
}

fn is_ours(name: &[u8]) -> bool {
    // A short wrong name is a mistake, and the library answers it.
    name.len() <= MAX_NAMESPACE || NAMESPACES.iter().any(|ours| ours.as_bytes() == name)
}

/// The longest name of a namespace that is answered at all, in bytes.
pub(super) const MAX_NAMESPACE: usize = 64;

#[cfg(test)]
mod tests {
    use proptest::strategy::Strategy;

    use super::*;

    fn checked(body: &str) -> Result<usize, PayloadDefect> {
        check(&Bytes::from(body.to_owned()), 100)
    }

    proptest::proptest! {
        /// Packets in the form of those that the parsers look at, and any bytes.
        #[test]
        fn any_payload_is_read_and_what_the_library_gets_of_it_stays_as_it_is(
            packets in proptest::collection::vec(
                proptest::prop_oneof![
                    "(4[0-6]|[0-6b])([0-9]{0,3}-?)(/[a-z]{0,5},?)?[0-9]{0,4}(\\[\"\\PC{0,6}\"?,?.{0,9}\\]?)?",
                    ".{0,20}",
                ].prop_map(String::into_bytes),
                0..6,
            ),
            noise in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..40),
        ) {
            for body in [packets.join(&SEPARATOR), noise] {
                if let Ok(count) = check(&Bytes::from(body.clone()), 100) {
                    proptest::prop_assert_eq!(count, super::packets(&body).count());
                }
                if let Some(legible) = legible_payload(&body) {
                    proptest::prop_assert_eq!(super::packets(&legible).count(), super::packets(&body).count());
                    proptest::prop_assert_eq!(legible_payload(&legible), None);
                }
            }
        }
    }

    #[test]
    fn a29_a51_payloads_of_clients_pass_and_floods_do_not() {
        for good in ["40", "40/ws,{}", "40/typo,", "42[\"rooms\"]\u{1e}3", ""] {
            assert!(checked(good).is_ok(), "{good}");
        }
        let abuse = Err(PayloadDefect::Abuse);
        assert_eq!(checked(&format!("40/{},", "x".repeat(70))), abuse);
        assert_eq!(checked(&format!("42[\"{}\"]", "x".repeat(100))), abuse);
        let many = |count| checked(&vec!["3"; count].join("\u{1e}"));
        assert_eq!(many(1024), Ok(1024));
        assert_eq!(many(1025), Err(PayloadDefect::Flood));
    }
}
