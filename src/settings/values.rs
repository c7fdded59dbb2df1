//! From text to values. The name of the variable and its text are added to what is wrong by the reader.

use std::fmt::Debug;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::PathBuf;
use std::time::Duration;

use axum::http::Uri;
use fleetcast_core::domain::topic_name::{TOPIC_NAME_RULE, has_topic_characters, is_topic_name};
use jsonwebtoken::Algorithm;

use super::origin::Origin;
use crate::auth::JwksSource;
use crate::telemetry::{LogFilter, LogFormat};

/// What a value must look like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ValueKind {
    Text,
    /// Masked wherever settings are shown.
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

const HOST: &str = "IP address or `localhost`";
const PORT: &str = "port from 0 to 65535";
const BOOL: &str = "`true` or `false`";
const COUNT: &str = "whole number";
const DURATION: &str = "seconds, or `500ms`, `30s`, `5m`, `1h`";
const BYTES: &str = "bytes, or `64KiB`, `256MiB`, `1GiB`, `1MB`";

/// `expected port from 0 to 65535`: the same words as in the documentation, which marks code with backticks.
pub fn expected(form: &str) -> Wrong {
    format!("expected {}", form.replace('`', ""))
}

impl ValueKind {
    /// The text in one spelling of several (`30s` and `30`), to compare two. Fails if the text does not fit.
    pub fn canonical(self, text: &str) -> Result<String, Wrong> {
        fn shown<T: Debug>(value: Result<T, Wrong>) -> Result<String, Wrong> {
            value.map(|value| format!("{value:?}"))
        }
        match self {
            Self::Text | Self::List | Self::Secret => Ok(text.to_owned()),
            Self::Host => shown(host(text)),
            Self::Port => shown(port(text)),
            Self::Bool => shown(boolean(text)),
            Self::Count => shown(count(text)),
            Self::Duration => shown(duration(text)),
            Self::Bytes => shown(bytes(text)),
            Self::Origins if text == "*" => Ok(text.to_owned()),
            Self::Origins => shown(origins(text)),
            Self::Brokers => brokers(text),
            Self::Url => url(text),
            Self::FileOrUrl => shown(jwks(text)),
            Self::LogFilter => shown(log_filter(text)),
            Self::OneOf(words) => words
                .iter()
                .find(|word| word.eq_ignore_ascii_case(text))
                .map(|word| (*word).to_owned())
                .ok_or_else(|| expected(&self.form())),
        }
    }

    /// A TOML file may have it without quotes.
    pub fn is_number(self) -> bool {
        matches!(
            self,
            Self::Port | Self::Count | Self::Duration | Self::Bytes
        )
    }

    /// A TOML file may have it as a list.
    pub fn is_list(self) -> bool {
        matches!(self, Self::Origins | Self::Brokers | Self::List)
    }

    /// How to write one, for the documentation.
    pub fn form(self) -> String {
        let form = match self {
            Self::Text => "text",
            Self::Secret => "secret",
            Self::Host => HOST,
            Self::Port => PORT,
            Self::Bool => BOOL,
            Self::Count => COUNT,
            Self::Duration => DURATION,
            Self::Bytes => BYTES,
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

    /// The text without what must not be shown: a secret, or user, password and query of a URL.
    pub fn masked(self, text: &str) -> String {
        match self {
            Self::Secret if !text.is_empty() => MASK.to_owned(),
            Self::Url | Self::FileOrUrl => without_password(text),
            _ => text.to_owned(),
        }
    }
}

/// What stands for a secret.
pub const MASK: &str = "********";

/// `redis://user:password@host` without user, password and query.
fn without_password(url: &str) -> String {
    let url = url.split(['?', '#']).next().unwrap_or(url);
    match (url.split_once("://"), url.rsplit_once('@')) {
        (Some((scheme, _)), Some((_, host))) => format!("{scheme}://{MASK}@{host}"),
        // What is no URL may be a password all the same.
        (None, Some((_, host))) => format!("{MASK}@{host}"),
        _ => url.to_owned(),
    }
}

pub fn host(text: &str) -> Result<IpAddr, Wrong> {
    let bracketed = text
        .strip_prefix('[')
        .and_then(|text| text.strip_suffix(']'));
    let address = match bracketed {
        Some(inner) => inner.parse::<Ipv6Addr>().ok().map(IpAddr::V6),
        None if text.eq_ignore_ascii_case("localhost") => Some(Ipv4Addr::LOCALHOST.into()),
        None => text.parse().ok(),
    };
    address.ok_or_else(|| expected(HOST))
}

pub fn port(text: &str) -> Result<u16, Wrong> {
    let number = digits(text).and_then(|text| text.parse().ok());
    number.ok_or_else(|| expected(PORT))
}

pub fn boolean(text: &str) -> Result<bool, Wrong> {
    match text.to_ascii_lowercase().as_str() {
        "true" | "1" | "yes" | "on" => Ok(true),
        "false" | "0" | "no" | "off" => Ok(false),
        _ => Err(expected(BOOL)),
    }
}

pub fn count(text: &str) -> Result<usize, Wrong> {
    let number = digits(text).and_then(|text| text.parse().ok());
    number.ok_or_else(|| expected(COUNT))
}

/// 0 is no limit.
pub fn limit(text: &str) -> Result<usize, Wrong> {
    count(text).map(|count| if count == 0 { usize::MAX } else { count })
}

/// The longest time that a setting may ask for: beyond it, the unit is probably wrong.
const LONGEST: Duration = Duration::from_hours(7 * 24);

/// `30` and `30s` are seconds; `500ms`, `5m`, `2h` also work.
pub fn duration(text: &str) -> Result<Duration, Wrong> {
    const UNITS: [(&str, u64); 6] = [
        ("", 1_000),
        ("ms", 1),
        ("s", 1_000),
        ("m", 60_000),
        ("min", 60_000),
        ("h", 3_600_000),
    ];
    let milliseconds = quantity(text, &UNITS).ok_or_else(|| expected(DURATION))?;
    Some(Duration::from_millis(milliseconds))
        .filter(|duration| *duration <= LONGEST)
        .ok_or_else(|| "must be at most a week".to_owned())
}

pub fn positive_duration(text: &str) -> Result<Duration, Wrong> {
    Some(duration(text)?)
        .filter(|duration| !duration.is_zero())
        .ok_or_else(|| "must be more than 0".to_owned())
}

/// `1000000`, `64KiB`, `256MiB`, `1GiB`, and the decimal `kB`, `MB`, `GB`.
pub fn bytes(text: &str) -> Result<u64, Wrong> {
    const UNITS: [(&str, u64); 8] = [
        ("", 1),
        ("b", 1),
        ("kb", 1_000),
        ("mb", 1_000_000),
        ("gb", 1_000_000_000),
        ("kib", 1 << 10),
        ("mib", 1 << 20),
        ("gib", 1 << 30),
    ];
    Some(quantity(text, &UNITS).ok_or_else(|| expected(BYTES))?)
        .filter(|bytes| *bytes <= 1 << 46)
        .ok_or_else(|| "must be at most 65536 GiB".to_owned())
}

/// Bytes that one buffer may hold: enough for the smallest packets, and within what a length field of 32 bits can say.
pub fn buffer(text: &str) -> Result<usize, Wrong> {
    usize::try_from(bytes(text)?)
        .ok()
        .filter(|bytes| (1_024..=1 << 30).contains(bytes))
        .ok_or_else(|| "must be from 1024 bytes to 1 GiB".to_owned())
}

/// A Kafka topic, as the brokers have it.
pub fn topic(text: &str) -> Result<String, Wrong> {
    Some(text.to_owned())
        .filter(|name| is_topic_name(name))
        .ok_or_else(|| format!("invalid topic name: expected {TOPIC_NAME_RULE}"))
}

/// What the names of topics begin with; may be empty.
pub fn topic_prefix(text: &str) -> Result<String, Wrong> {
    Some(text.to_owned())
        .filter(|prefix| prefix.len() <= 128 && has_topic_characters(prefix))
        .ok_or_else(|| {
            "invalid topic prefix: expected up to 128 characters of A-Z, a-z, 0-9, ., _ and -"
                .to_owned()
        })
}

pub fn origins(text: &str) -> Result<Vec<Origin>, Wrong> {
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
    let mut origins: Vec<Origin> = good.into_iter().flatten().collect();
    origins.sort();
    origins.dedup();
    Ok(origins)
}

/// As librdkafka takes it: `host:port`, where the port may be left out, comma-separated.
pub fn brokers(text: &str) -> Result<String, Wrong> {
    let brokers: Vec<&str> = list(text).collect();
    if brokers.is_empty() {
        return Err("expected at least one broker".to_owned());
    }
    for broker in &brokers {
        // librdkafka takes a scheme too: `SASL_SSL://host:9093`.
        let address = broker.split_once("://").map_or(*broker, |(_, rest)| rest);
        let (host, number) = match address.rsplit_once(':') {
            Some((host, number)) if !number.ends_with(']') => (host, Some(number)),
            _ => (address, None),
        };
        let valid = !host.is_empty() && !host.contains(|c: char| c.is_whitespace() || c == '/');
        if !valid || number.is_some_and(|number| port(number).is_err() || number == "0") {
            return Err(format!("expected host:port; found {broker}"));
        }
    }
    Ok(brokers.join(","))
}

pub fn url(text: &str) -> Result<String, Wrong> {
    text.parse::<Uri>()
        .ok()
        .filter(|uri| uri.scheme().is_some() && uri.host().is_some_and(|host| !host.is_empty()))
        .map(|_| text.to_owned())
        .ok_or_else(|| "invalid URL".to_owned())
}

/// What has a scheme is a URL. Keys decide who may come in, so they travel encrypted or not at all.
pub fn jwks(text: &str) -> Result<JwksSource, Wrong> {
    let Some((scheme, _)) = text.split_once("://") else {
        return Ok(JwksSource::File(PathBuf::from(text)));
    };
    let uri: Uri = url(text)?.parse().map_err(|_| "invalid URL".to_owned())?;
    let host = uri.host().unwrap_or_default();
    let authority = uri.authority().map_or("", |authority| authority.as_str());
    if authority.contains('@') {
        return Err("user and password in the URL are not supported".to_owned());
    }
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    let loopback = host.eq_ignore_ascii_case("localhost")
        || bare
            .parse()
            .is_ok_and(|address: IpAddr| address.is_loopback());
    match scheme.to_ascii_lowercase().as_str() {
        "https" => Ok(JwksSource::Url(text.to_owned())),
        "http" if loopback => Ok(JwksSource::Url(text.to_owned())),
        "http" => Err("must be https (http is for loopback only)".to_owned()),
        _ => Err("must be a path, or begin with https://".to_owned()),
    }
}

pub fn paths(text: &str) -> Result<Vec<PathBuf>, Wrong> {
    Some(list(text).map(PathBuf::from).collect())
        .filter(|paths: &Vec<_>| !paths.is_empty())
        .ok_or_else(|| "expected at least one file".to_owned())
}

/// Names of signature algorithms; `none` is not one of them.
pub fn algorithms(text: &str) -> Result<Vec<Algorithm>, Wrong> {
    const ALL: [&str; 12] = [
        "HS256", "HS384", "HS512", "RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256",
        "ES384", "EdDSA",
    ];
    let wrong = |name: &str| format!("expected {}; found {name}", ALL.join(", "));
    let algorithms = list(text)
        .map(|name| {
            let known = ALL.iter().find(|known| known.eq_ignore_ascii_case(name));
            known
                .and_then(|known| known.parse().ok())
                .ok_or_else(|| wrong(name))
        })
        .collect::<Result<Vec<Algorithm>, _>>()?;
    if algorithms.is_empty() {
        return Err(wrong("none"));
    }
    Ok(algorithms)
}

pub fn log_filter(text: &str) -> Result<LogFilter, Wrong> {
    text.parse::<LogFilter>().map_err(|error| error.to_string())
}

pub fn log_format(text: &str) -> Result<LogFormat, Wrong> {
    match text {
        "auto" => Ok(LogFormat::Auto),
        "json" => Ok(LogFormat::Json),
        "pretty" => Ok(LogFormat::Pretty),
        _ => Err(expected("auto, json, pretty")),
    }
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

/// A whole number with one of these units (in lower case), times what the unit stands for. A number too large for 64 bits is
/// the largest, which every caller refuses as too large.
fn quantity(text: &str, units: &[(&str, u64)]) -> Option<u64> {
    let end = text.find(|c: char| !c.is_ascii_digit());
    let (number, unit) = text.split_at(end.unwrap_or(text.len()));
    let unit = unit.trim_start().to_ascii_lowercase();
    let (_, factor) = units.iter().find(|(known, _)| *known == unit)?;
    Some(number.parse::<u64>().ok()?.saturating_mul(*factor))
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
