//! Why brokers refuse us, or we them, in words that name what an operator can change.

use std::time::Duration;

use rdkafka::types::RDKafkaErrorCode;

use super::ConsumerSettings;
use super::client::{self, Context};
use super::ffi::{Probe, probe};

/// What about the settings, or a certificate, keeps us from the brokers, if retrying will not help. `None`: no such reason was
/// found within `at_most`; the brokers may be away. Blocks for about so long.
pub(super) fn diagnose(settings: &ConsumerSettings, at_most: Duration) -> Option<String> {
    let protocol = settings.properties.get("security.protocol");
    let secure = protocol.is_some_and(|protocol| !protocol.eq_ignore_ascii_case("plaintext"));
    if !secure {
        return None;
    }
    let config = client::common(settings).ok()?;
    let enough = |heard: &Probe| name(heard).is_some();
    let heard = probe(&config, at_most, enough).ok()?;
    let name = name(&heard).filter(|_| !heard.answered)?;
    Some(Context::new(settings).masked(&name))
}

/// OpenSSL's numbers, which are part of its interface (`X509_V_ERR_...`).
fn certificate(fault: i32) -> String {
    let what = match fault {
        2 | 18 | 19 | 20 | 21 | 27 => {
            "is signed by an authority that is not trusted here: ssl.ca.location names those that are"
        }
        9 => "is not valid yet: are the clocks right?",
        10 => "has expired",
        62..=64 => {
            "is for another host name than that which KAFKA_BOOTSTRAP_SERVERS or the brokers' advertised listeners give"
        }
        23 => "has been revoked",
        other => return format!("the brokers' certificate is refused (X509 error {other})"),
    };
    format!("the brokers' certificate {what}")
}

fn name(heard: &Probe) -> Option<String> {
    if let Some(fault) = heard.certificate {
        return Some(certificate(fault));
    }
    let text = |wanted: RDKafkaErrorCode| {
        let found = heard.errors.iter().find(|(code, _)| *code == wanted)?;
        Some(essence(&found.1))
    };
    let refused = || text(RDKafkaErrorCode::Authentication);
    let mechanism = || text(RDKafkaErrorCode::UnsupportedSASLMechanism);
    if let Some(text) = refused().or_else(mechanism) {
        return Some(format!("the brokers refuse the credentials: {text}"));
    }
    text(RDKafkaErrorCode::SSL).map(|text| format!("no TLS with the brokers: {text}"))
}

/// librdkafka counts brokers that it has not asked yet, too: `0/1 brokers are down`.
pub(super) const NO_BROKER: &str = "none of the brokers can be reached";

/// An error of the client for people. That all brokers are away says less than the error `before`, which stays with it.
pub(super) fn plain_error(code: RDKafkaErrorCode, text: &str, before: Option<String>) -> String {
    match (code, before) {
        (RDKafkaErrorCode::AllBrokersDown, Some(why)) if why.starts_with(NO_BROKER) => why,
        (RDKafkaErrorCode::AllBrokersDown, Some(why)) => format!("{NO_BROKER}: {why}"),
        (RDKafkaErrorCode::AllBrokersDown, None) => NO_BROKER.to_owned(),
        _ => essence(text),
    }
}

/// Without librdkafka's own name of the connection before, and its times behind.
fn essence(text: &str) -> String {
    let text = text.split_once(": ").map_or(text, |(connection, rest)| {
        let number = connection.rsplit_once('/').map(|(_, broker)| broker);
        let is_broker = |broker: &str| {
            broker == "bootstrap" || broker.bytes().all(|byte| byte.is_ascii_digit())
        };
        if connection.contains("://") || number.is_some_and(is_broker) {
            rest
        } else {
            text
        }
    });
    let end = text.find(" (after ").unwrap_or(text.len());
    text[..end].to_owned()
}

#[cfg(test)]
mod tests {
    #[test]
    fn all_brokers_down_is_reported_with_the_last_cause() {
        use RDKafkaErrorCode::{AllBrokersDown, BrokerTransportFailure};
        let plain = |code, text: &str, before: Option<&str>| {
            plain_error(code, text, before.map(str::to_owned))
        };
        let refused = "Connect to ipv4#127.0.0.1:1 failed: Connection refused";
        let line = format!("127.0.0.1:1/bootstrap: {refused} (after 0ms in state CONNECT)");
        assert_eq!(plain(BrokerTransportFailure, &line, None), refused);
        let all = format!("{NO_BROKER}: {refused}");
        let down = "1/1 brokers are down";
        assert_eq!(plain(AllBrokersDown, down, None), NO_BROKER);
        assert_eq!(plain(AllBrokersDown, down, Some(refused)), all);
        assert_eq!(plain(AllBrokersDown, down, Some(&all)), all);
        let named = format!("sasl_ssl://kafka:9093/2: {refused}");
        assert_eq!(plain(BrokerTransportFailure, &named, Some("x")), refused);
    }

    use super::*;

    fn heard(certificate: Option<i32>, errors: &[(RDKafkaErrorCode, &str)]) -> Probe {
        let errors = errors
            .iter()
            .map(|(code, text)| (*code, (*text).to_owned()));
        Probe {
            answered: false,
            certificate,
            errors: errors.collect(),
        }
    }

    #[test]
    fn causes_that_an_operator_can_fix_are_named() {
        use RDKafkaErrorCode::{AllBrokersDown, Authentication, SSL};
        let refused = "sasl_ssl://kafka:9093/bootstrap: SASL authentication error: invalid credentials (after 3ms in state AUTH_REQ)";
        for (heard, expected) in [
            (
                heard(Some(10), &[(SSL, "x")]),
                Some("certificate has expired"),
            ),
            (heard(Some(19), &[]), Some("ssl.ca.location")),
            (heard(Some(20), &[]), Some("ssl.ca.location")),
            (heard(Some(62), &[]), Some("another host name")),
            (heard(Some(64), &[]), Some("another host name")),
            (heard(Some(77), &[]), Some("X509 error 77")),
            (
                heard(None, &[(AllBrokersDown, "1/1"), (Authentication, refused)]),
                Some("refuse the credentials: SASL authentication error: invalid credentials"),
            ),
            (
                heard(None, &[(SSL, "a: b")]),
                Some("no TLS with the brokers: a: b"),
            ),
            (heard(None, &[(AllBrokersDown, "1/1")]), None),
        ] {
            let name = name(&heard);
            match expected {
                None => assert_eq!(name, None),
                Some(part) => assert!(
                    name.as_ref().is_some_and(|name| name.contains(part)),
                    "{name:?}"
                ),
            }
        }
    }
}
