//! From text to values. Each parser says what it wants instead; the name of the variable and its text are added by the reader.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::PathBuf;
use std::time::Duration;

use axum::http::Uri;
use fleetcast_core::domain::topic_name::{TOPIC_NAME_RULE, has_topic_characters, is_topic_name};
use jsonwebtoken::Algorithm;

use super::origin::Origin;
use crate::auth::JwksSource;
use crate::telemetry::LogFilter;

/// What a value must look like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Text,
    Secret,
    Host,
    Port,
    Bool,
    Count,
    Duration,
    Bytes,
    Origins,
    Brokers,
    /// Comma-separated.
    List,
    Url,
    /// A JWKS.
    FileOrUrl,
    LogFilter,
    OneOf(&'static [&'static str]),
}

/// What is wrong with a value, for a sentence such as `cannot use PORT="80a": …`.
pub type Wrong = String;

impl Kind {
    /// Does the text fit, whoever reads it later?
    pub fn check(self, text: &str) -> Result<(), Wrong> {
        match self {
            Self::Text | Self::List | Self::Secret => Ok(()),
            Self::Host => host(text).map(drop),
            Self::Port => port(text).map(drop),
            Self::Bool => boolean(text).map(drop),
            Self::Count => count(text).map(drop),
            Self::Duration => duration(text).map(drop),
            Self::Bytes => bytes(text).map(drop),
            Self::Origins if text == "*" => Ok(()),
            Self::Origins => origins(text).map(drop),
            Self::Brokers => brokers(text).map(drop),
            Self::Url => url(text).map(drop),
            Self::FileOrUrl => jwks(text).map(drop),
            Self::LogFilter => log_filter(text).map(drop),
            Self::OneOf(words) => one_of(words, text).map(drop),
        }
    }

    /// A TOML file may have it without quotes.
    pub fn is_number(self) -> bool {
        matches!(
            self,
            Self::Port | Self::Count | Self::Duration | Self::Bytes
        )
    }

    /// How to write one, for the documentation.
    pub fn form(self) -> String {
        let form = match self {
            Self::Text => "text",
            Self::Secret => "secret",
            Self::Host => "IP address or `localhost`",
            Self::Port => "0 to 65535",
            Self::Bool => "`true` or `false`",
            Self::Count => "number",
            Self::Duration => "seconds, or `500ms`, `30s`, `5m`, `1h`",
            Self::Bytes => "bytes, or `64KiB`, `256MiB`, `1GiB`, `1MB`",
            Self::Origins => "list of origins",
            Self::Brokers => "list of `host:port`",
            Self::List => "list",
            Self::Url => "URL",
            Self::FileOrUrl => "path or URL",
            Self::LogFilter => "level",
            Self::OneOf(words) => return format!("`{}`", words.join("`, `")),
        };
        form.to_owned()
    }
}

pub fn host(text: &str) -> Result<IpAddr, Wrong> {
    if text.eq_ignore_ascii_case("localhost") {
        return Ok(IpAddr::V4(Ipv4Addr::LOCALHOST));
    }
    let bracketed = text
        .strip_prefix('[')
        .and_then(|text| text.strip_suffix(']'));
    if let Some(inner) = bracketed {
        return inner
            .parse::<Ipv6Addr>()
            .map(IpAddr::V6)
            .map_err(|_| "what stands in brackets is not an IPv6 address".to_owned());
    }
    text.parse()
        .map_err(|_| "it is not an IP address (a listener needs one, not a name)".to_owned())
}

pub fn port(text: &str) -> Result<u16, Wrong> {
    digits(text)
        .and_then(|text| text.parse().ok())
        .ok_or_else(|| "it is not a port from 0 to 65535".to_owned())
}

pub fn boolean(text: &str) -> Result<bool, Wrong> {
    match text.to_ascii_lowercase().as_str() {
        "true" | "1" | "yes" | "on" => Ok(true),
        "false" | "0" | "no" | "off" => Ok(false),
        _ => Err("it is neither true nor false".to_owned()),
    }
}

pub fn count(text: &str) -> Result<usize, Wrong> {
    digits(text)
        .and_then(|text| text.parse().ok())
        .ok_or_else(|| "it is not a whole number".to_owned())
}

/// The longest time that a setting may ask for: beyond it, it is a slip of the unit.
const LONGEST: Duration = Duration::from_hours(7 * 24);

/// `30` and `30s` are seconds; `500ms`, `5m`, `2h` also work.
pub fn duration(text: &str) -> Result<Duration, Wrong> {
    let wrong = || "it is not a time such as 30, 30s, 500ms or 5m".to_owned();
    let (number, unit) = number_and_unit(text).ok_or_else(wrong)?;
    let milliseconds = match unit.to_ascii_lowercase().as_str() {
        "ms" => Some(number),
        "" | "s" => number.checked_mul(1_000),
        "m" | "min" => number.checked_mul(60_000),
        "h" => number.checked_mul(3_600_000),
        _ => return Err(wrong()),
    };
    milliseconds
        .map(Duration::from_millis)
        .filter(|duration| *duration <= LONGEST)
        .ok_or_else(|| "it is longer than a week".to_owned())
}

/// `1000000`, `64KiB`, `256MiB`, `1GiB`, and the decimal `kB`, `MB`, `GB`.
pub fn bytes(text: &str) -> Result<u64, Wrong> {
    let wrong = || "it is not a size such as 1000000, 64KiB or 256MiB".to_owned();
    let (number, unit) = number_and_unit(text).ok_or_else(wrong)?;
    let factor = match unit.to_ascii_lowercase().as_str() {
        "" | "b" => 1,
        "kb" => 1_000,
        "mb" => 1_000_000,
        "gb" => 1_000_000_000,
        "kib" => 1 << 10,
        "mib" => 1 << 20,
        "gib" => 1 << 30,
        _ => return Err(wrong()),
    };
    number
        .checked_mul(factor)
        .filter(|bytes| *bytes <= 1 << 46)
        .ok_or_else(|| "it is more than any machine has".to_owned())
}

/// A Kafka topic, as the brokers have it.
pub fn topic(text: &str) -> Result<String, Wrong> {
    if is_topic_name(text) {
        Ok(text.to_owned())
    } else {
        Err(format!("invalid topic name: expected {TOPIC_NAME_RULE}"))
    }
}

/// What the names of topics begin with; may be empty.
pub fn topic_prefix(text: &str) -> Result<String, Wrong> {
    const MAX_PREFIX: usize = 128;
    if text.len() <= MAX_PREFIX && has_topic_characters(text) {
        Ok(text.to_owned())
    } else {
        Err(format!(
            "invalid topic prefix: expected up to {MAX_PREFIX} characters of A-Z, a-z, 0-9, ., _ and -"
        ))
    }
}

pub fn origins(text: &str) -> Result<Vec<Origin>, Wrong> {
    let list: Vec<&str> = list(text).collect();
    if list.contains(&"*") {
        return Err("`*` stands alone or not at all".to_owned());
    }
    let (good, bad): (Vec<_>, Vec<_>) =
        (list.into_iter().map(Origin::parse)).partition(Result::is_ok);
    if !bad.is_empty() {
        let bad: Vec<Wrong> = bad.into_iter().filter_map(Result::err).collect();
        return Err(bad.join("; "));
    }
    let mut origins: Vec<Origin> = good.into_iter().flatten().collect();
    origins.sort();
    origins.dedup();
    Ok(origins)
}

/// As librdkafka takes it: `host:port`, where the port may be left out, comma-separated.
pub fn brokers(text: &str) -> Result<String, Wrong> {
    let brokers: Vec<&str> = list(text).collect();
    if brokers.is_empty() {
        return Err("it names no broker".to_owned());
    }
    for broker in &brokers {
        // librdkafka takes a scheme too: `SASL_SSL://host:9093`.
        let address = broker.split_once("://").map_or(*broker, |(_, rest)| rest);
        let (host, number) = match address.rsplit_once(':') {
            Some((host, number)) if !number.ends_with(']') => (host, Some(number)),
            _ => (address, None),
        };
        let sound = !host.is_empty() && !host.contains(|c: char| c.is_whitespace() || c == '/');
        if !sound || number.is_some_and(|number| port(number).is_err() || number == "0") {
            return Err(format!("{broker} is not host:port"));
        }
    }
    Ok(brokers.join(","))
}

pub fn url(text: &str) -> Result<String, Wrong> {
    let sound = text
        .parse::<Uri>()
        .is_ok_and(|uri| uri.scheme().is_some() && uri.host().is_some_and(|host| !host.is_empty()));
    if sound {
        Ok(text.to_owned())
    } else {
        Err("it is not a URL".to_owned())
    }
}

/// What has a scheme is a URL. Keys decide who may come in, so they travel encrypted or not at all.
pub fn jwks(text: &str) -> Result<JwksSource, Wrong> {
    let Some((scheme, _)) = text.split_once("://") else {
        return Ok(JwksSource::File(PathBuf::from(text)));
    };
    let uri: Uri = text.parse().map_err(|_| "it is not a URL".to_owned())?;
    let host = uri.host().unwrap_or_default();
    if host.is_empty() {
        return Err("it is not a URL".to_owned());
    }
    if uri
        .authority()
        .is_some_and(|authority| authority.as_str().contains('@'))
    {
        return Err("a user and a password in it are not supported".to_owned());
    }
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    let loopback = host.eq_ignore_ascii_case("localhost")
        || bare
            .parse()
            .is_ok_and(|address: IpAddr| address.is_loopback());
    match scheme.to_ascii_lowercase().as_str() {
        "https" => Ok(JwksSource::Url(text.to_owned())),
        "http" if loopback => Ok(JwksSource::Url(text.to_owned())),
        "http" => Err("it must be https (http is for loopback only)".to_owned()),
        _ => Err("it must be a path, or begin with https://".to_owned()),
    }
}

pub fn paths(text: &str) -> Result<Vec<PathBuf>, Wrong> {
    let paths: Vec<PathBuf> = list(text).map(PathBuf::from).collect();
    if paths.is_empty() {
        return Err("it names no file".to_owned());
    }
    Ok(paths)
}

/// Names of signature algorithms. `none` is none.
pub fn algorithms(text: &str) -> Result<Vec<Algorithm>, Wrong> {
    const ALL: [&str; 12] = [
        "HS256", "HS384", "HS512", "RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256",
        "ES384", "EdDSA",
    ];
    let algorithms = list(text)
        .map(|name| {
            ALL.iter()
                .find(|known| known.eq_ignore_ascii_case(name))
                .and_then(|known| known.parse().ok())
                .ok_or_else(|| format!("{name} is none of {}", ALL.join(", ")))
        })
        .collect::<Result<Vec<Algorithm>, _>>()?;
    if algorithms.is_empty() {
        return Err("it names no algorithm".to_owned());
    }
    Ok(algorithms)
}

pub fn log_filter(text: &str) -> Result<LogFilter, Wrong> {
    text.parse::<LogFilter>().map_err(|error| error.to_string())
}

pub fn one_of(words: &[&'static str], text: &str) -> Result<&'static str, Wrong> {
    words
        .iter()
        .find(|word| word.eq_ignore_ascii_case(text))
        .copied()
        .ok_or_else(|| format!("it is none of {}", words.join(", ")))
}

fn list(text: &str) -> impl Iterator<Item = &str> {
    text.split(',')
        .map(str::trim)
        .filter(|item| !item.is_empty())
}

/// Rust's number parsers take a sign; a setting has none.
fn digits(text: &str) -> Option<&str> {
    (!text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())).then_some(text)
}

fn number_and_unit(text: &str) -> Option<(u64, &str)> {
    let end = text
        .find(|character: char| !character.is_ascii_digit())
        .unwrap_or(text.len());
    let (number, unit) = text.split_at(end);
    Some((number.parse().ok()?, unit.trim_start()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_and_sizes_have_units() {
        let seconds = |text| duration(text).map(|duration| duration.as_secs_f64());
        assert_eq!(seconds("30"), Ok(30.0));
        assert_eq!(seconds("30s"), Ok(30.0));
        assert_eq!(seconds("5m"), Ok(300.0));
        assert_eq!(seconds("1 h"), Ok(3600.0));
        assert_eq!(seconds("500ms"), Ok(0.5));
        assert_eq!(seconds("0"), Ok(0.0));
        assert_eq!(bytes("1000000"), Ok(1_000_000));
        assert_eq!(bytes("256MiB"), Ok(268_435_456));
        assert_eq!(bytes("64 kib"), Ok(65_536));
        assert_eq!(bytes("1MB"), Ok(1_000_000));
        for wrong in [
            "",
            "s",
            "-1",
            "+1",
            "1.5s",
            "30x",
            "8d",
            "1e3",
            "5 m 3",
            "99999999999999999999",
            "170h",
        ] {
            assert!(duration(wrong).is_err(), "{wrong}");
        }
        for wrong in [
            "",
            "MiB",
            "-1",
            "1.5MiB",
            "1Mi",
            "1TB",
            "18446744073709551615",
            "99999999GiB",
        ] {
            assert!(bytes(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn addresses_ports_numbers_and_switches() {
        for good in ["0.0.0.0", "::", "[::1]", "localhost"] {
            assert!(host(good).is_ok(), "{good}");
        }
        for wrong in ["", "example.com", "1.2.3", "[1.2.3.4]", "127.0.0.1:80"] {
            assert!(host(wrong).is_err(), "{wrong}");
        }
        assert_eq!(port("0"), Ok(0));
        for wrong in ["", "80a", "-1", "+80", "65536", " 80", "tcp://10.0.0.1:80"] {
            assert!(port(wrong).is_err(), "{wrong}");
        }
        assert_eq!((boolean("TRUE"), boolean("off")), (Ok(true), Ok(false)));
        assert!(boolean("maybe").is_err() && boolean("").is_err());
        assert!(count("-3").is_err() && count("3x").is_err() && count("12") == Ok(12));
    }

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
