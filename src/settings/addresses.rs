//! Where others are: origins, brokers, URLs.

use std::collections::BTreeSet;
use std::net::Ipv6Addr;
use std::path::PathBuf;

use url::{Host, Url};

use super::CorsOrigins;
use super::origin::Origin;
use super::values::{Wrong, list, port};
use crate::auth::JwksSource;

/// Exact ones, or `*` for any.
pub(super) fn cors_origins(text: &str) -> Result<CorsOrigins, Wrong> {
    if text == "*" {
        return Ok(CorsOrigins::Any);
    }
    let list: Vec<&str> = list(text).collect();
    if list.contains(&"*") {
        return Err("* cannot be combined with other origins".to_owned());
    }
    let (good, bad): (Vec<_>, Vec<_>) =
        (list.into_iter().map(Origin::parse)).partition(Result::is_ok);
    if !bad.is_empty() {
        let bad: Vec<Wrong> = bad.into_iter().filter_map(Result::err).collect();
        return Err(bad.join("; "));
    }
    let origins: BTreeSet<Origin> = good.into_iter().flatten().collect();
    Ok(CorsOrigins::Exact(origins.into_iter().collect()))
}

/// As librdkafka takes it: `host:port`, where the port may be left out, comma-separated. What is wrong with one is found here,
/// because librdkafka would look for a host of that name for ever.
pub(super) fn brokers(text: &str) -> Result<String, Wrong> {
    let brokers: Vec<&str> = list(text).collect();
    if brokers.is_empty() {
        return Err("expected at least one broker".to_owned());
    }
    for broker in &brokers {
        broker_address(broker).map_err(|why| format!("expected host:port; found {broker}{why}"))?;
    }
    Ok(brokers.join(","))
}

/// The error is a hint, or empty.
fn broker_address(broker: &str) -> Result<(), &'static str> {
    const PROTOCOLS: [&str; 4] = ["plaintext", "ssl", "sasl_plaintext", "sasl_ssl"];
    if broker.contains([';', '|']) || broker.contains(char::is_whitespace) {
        return Err(": brokers are separated by commas");
    }
    let address = match broker.split_once("://") {
        Some((scheme, rest)) if PROTOCOLS.contains(&&*scheme.to_ascii_lowercase()) => rest,
        Some(_) => return Err(": a broker is no URL"),
        None => broker,
    };
    let (host, number) = match address.strip_prefix('[') {
        Some(rest) => {
            let (host, after) = rest.split_once(']').ok_or(": a bracket is open")?;
            host.parse::<Ipv6Addr>().map_err(|_| "")?;
            let number = after.strip_prefix(':');
            (number.is_some() || after.is_empty())
                .then_some((host, number))
                .ok_or("")?
        }
        None if address.parse::<Ipv6Addr>().is_ok() || address.matches(':').count() > 1 => {
            return Err(": an IPv6 address stands in brackets");
        }
        None => match address.split_once(':') {
            Some((host, number)) => (host, Some(number)),
            None => (address, None),
        },
    };
    let is_host = |c: char| c.is_alphanumeric() || ".-_:".contains(c);
    let is_port = |number: &str| port(number).is_ok_and(|number| number > 0);
    if host.is_empty() || !host.chars().all(is_host) || !number.is_none_or(is_port) {
        return Err("");
    }
    Ok(())
}

pub(super) fn url(text: &str) -> Result<String, Wrong> {
    parse_url(text).map(|_| text.to_owned())
}

fn parse_url(text: &str) -> Result<Url, Wrong> {
    let url = Url::parse(text).ok();
    url.filter(|url| url.host_str().is_some_and(|host| !host.is_empty()))
        .ok_or_else(|| "invalid URL".to_owned())
}

/// What has a scheme is a URL. Keys decide which tokens are accepted, so they travel encrypted or not at all.
pub(super) fn jwks(text: &str) -> Result<JwksSource, Wrong> {
    if !text.contains("://") {
        return Ok(JwksSource::File(PathBuf::from(text)));
    }
    let url = parse_url(text)?;
    let is_loopback = match url.host() {
        Some(Host::Domain(name)) => name == "localhost",
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        None => false,
    };
    match url.scheme() {
        _ if !url.username().is_empty() || url.password().is_some() => {
            Err("user and password in the URL are not supported".to_owned())
        }
        "https" => Ok(JwksSource::Url(text.to_owned())),
        "http" if is_loopback => Ok(JwksSource::Url(text.to_owned())),
        "http" => Err("must be https (http is for loopback only)".to_owned()),
        _ => Err("must be a path, or begin with https://".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn brokers_are_hosts_with_ports() {
        assert_eq!(
            brokers(" a:9092 , [::1]:9092,b ").as_deref(),
            Ok("a:9092,[::1]:9092,b")
        );
        assert!(brokers("SASL_SSL://a:9093").is_ok());
        for wrong in [
            "",
            " , ",
            "a:",
            ":9092",
            "a:0",
            "a:port",
            "a b:9092",
            "http://a:9092/x",
        ] {
            assert!(brokers(wrong).is_err(), "{wrong}");
        }
    }
}
