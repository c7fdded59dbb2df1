//! From text to values. The name of the variable and its text are added to what is wrong by the reader.

use std::collections::BTreeSet;
use std::fmt::Debug;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::num::NonZeroU32;
use std::path::PathBuf;
use std::time::Duration;

use axum::http::HeaderName;
use fleetcast_core::domain::claims::Alternatives;
use fleetcast_core::domain::client_address::{ForwardedHeader, TrustedProxies};
use fleetcast_core::domain::emitters::{Emitter, InvalidEmitter};
use fleetcast_core::domain::topic_name::{TOPIC_NAME_RULE, has_topic_characters, is_topic_name};
use jsonwebtoken::Algorithm;

use super::addresses::{brokers, cors_origins, jwks, url};
use crate::auth;
use crate::telemetry::{LogFilter, LogFormat};

/// What a value must look like.
#[derive(Debug, Clone, Copy)]
pub struct ValueKind {
    /// How to write one, for the documentation and for what is wrong with a value.
    pub form: &'static str,
    pub shape: Shape,
    /// The text in one spelling of several (`30s` and `30`), to compare two. Fails if the text does not fit.
    pub canonical: fn(&str) -> Result<String, Wrong>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shape {
    Text,
    /// Masked wherever settings are shown.
    Secret,
    /// User, password and query are masked.
    Url,
    /// A TOML file may have it without quotes.
    Number,
    /// A TOML file may have `true` and `false`.
    Switch,
    /// Comma-separated. A TOML file may have a list.
    List,
}

/// What is wrong with a value, for a sentence such as `cannot use PORT="80a": …`.
pub type Wrong = String;

#[rustfmt::skip]
impl ValueKind {
    pub const TEXT: Self = Self::new("text", Shape::Text, |text| Ok(text.to_owned()));
    pub const SECRET: Self = Self::new("secret", Shape::Secret, |text| Ok(text.to_owned()));
    pub const HOST: Self = Self::new("IP address or `localhost`", Shape::Text, |text| shown(host(text)));
    pub const NAMES: Self = Self::new("list of host names", Shape::List, |text| shown(host_names(text)));
    pub const PORT: Self = Self::new("port from 0 to 65535", Shape::Number, |text| shown(port(text)));
    pub const SWITCH: Self = Self::new("`true` or `false`", Shape::Switch, |text| shown(boolean(text)));
    pub const COUNT: Self = Self::new("whole number", Shape::Number, |text| shown(count(text)));
    pub const DURATION: Self = Self::new("seconds, or `500ms`, `30s`, `5m`, `1h`", Shape::Number, |text| shown(duration(text)));
    pub const BYTES: Self = Self::new("bytes, or `64KiB`, `256MiB`, `1GiB`, `1MB`", Shape::Number, |text| shown(bytes(text)));
    pub const ORIGINS: Self = Self::new("list of origins", Shape::List, |text| shown(cors_origins(text)));
    pub const HEADERS: Self = Self::new("list of header names", Shape::List, |text| shown(header_names(text)));
    pub const BROKERS: Self = Self::new("list of `host:port`", Shape::List, brokers);
    pub const NETWORKS: Self = Self::new("list of IP addresses and networks", Shape::List, |text| shown(proxies(text)));
    pub const EMITTERS: Self = Self::new("list of `node:ORGANISATION:KEY` and `python:ORGANISATION:CHANNEL`", Shape::List, |text| shown(emitters(text)));
    pub const LIST: Self = Self::new("list", Shape::List, |text| Ok(text.to_owned()));
    pub const URL: Self = Self::new("URL", Shape::Url, url);
    pub const REDIS_URL: Self = Self::new("URL", Shape::Url, |text| crate::bus::check_redis_url(text).map(|()| text.to_owned()));
    pub const REDIS_PREFIX: Self = Self::new("text", Shape::Text, crate::bus::redis_prefix);
    pub const AUDIENCES: Self = Self::new("list", Shape::List, |text| shown(audiences(text)));
    pub const CLAIM: Self = Self::new("list of claims", Shape::List, |text| shown(claim(text)));
    pub const JWKS: Self = Self::new("path or URL", Shape::Url, |text| shown(jwks(text)));
    pub const LOG_FILTER: Self = Self::new("level", Shape::Text, |text| shown(log_filter(text)));
    pub const LOG_FORMAT: Self = Self::new("`auto`, `json`, `pretty`", Shape::Text, |text| shown(log_format(text)));
    pub const FORWARDED_HEADER: Self = Self::new("`X-Forwarded-For`, `Forwarded`", Shape::Text, |text| shown(forwarded_header(text)));
    pub const KAFKA_MODE: Self = Self::new("`broadcast`, `group`", Shape::Text, kafka_mode);
}

impl ValueKind {
    const fn new(
        form: &'static str,
        shape: Shape,
        canonical: fn(&str) -> Result<String, Wrong>,
    ) -> Self {
        Self {
            form,
            shape,
            canonical,
        }
    }

    /// `expected port from 0 to 65535`: without the backticks of the documentation.
    pub fn expected(self) -> Wrong {
        format!("expected {}", self.form.replace('`', ""))
    }

    /// The text without what must not be shown.
    pub fn masked(self, text: &str) -> String {
        match self.shape {
            Shape::Secret if !text.is_empty() => MASK.to_owned(),
            Shape::Url => without_password(text),
            _ => text.to_owned(),
        }
    }
}

fn shown<T: Debug>(value: Result<T, Wrong>) -> Result<String, Wrong> {
    value.map(|value| format!("{value:?}"))
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
    address.ok_or_else(|| ValueKind::HOST.expected())
}

/// Names without ports, in lower case.
pub fn host_names(text: &str) -> Result<Vec<String>, Wrong> {
    let is_name = |name: &str| {
        let is_sign = |sign: u8| sign.is_ascii_alphanumeric() || b"-._".contains(&sign);
        name.len() <= 253 && name.bytes().all(is_sign)
    };
    list(text)
        .map(|name| {
            let known = is_name(name).then(|| name.to_ascii_lowercase());
            known.ok_or_else(|| format!("expected host names without ports; found {name}"))
        })
        .collect()
}

pub fn port(text: &str) -> Result<u16, Wrong> {
    let number = digits(text).and_then(|text| text.parse().ok());
    number.ok_or_else(|| ValueKind::PORT.expected())
}

pub fn boolean(text: &str) -> Result<bool, Wrong> {
    match text.to_ascii_lowercase().as_str() {
        "true" | "1" | "yes" | "on" => Ok(true),
        "false" | "0" | "no" | "off" => Ok(false),
        _ => Err(ValueKind::SWITCH.expected()),
    }
}

pub fn count(text: &str) -> Result<usize, Wrong> {
    let number = digits(text).and_then(|text| text.parse().ok());
    number.ok_or_else(|| ValueKind::COUNT.expected())
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
    let milliseconds = quantity(text, &UNITS).ok_or_else(|| ValueKind::DURATION.expected())?;
    let duration = Duration::from_millis(milliseconds);
    valid(duration, |it| *it <= LONGEST, "must be at most a week")
}

pub fn positive_duration(text: &str) -> Result<Duration, Wrong> {
    valid(duration(text)?, |it| !it.is_zero(), "must be more than 0")
}

/// Zero, or whole seconds: it is announced in seconds.
pub fn keep_alive(text: &str) -> Result<Duration, Wrong> {
    let fits = |it: &Duration| it.subsec_nanos() == 0 && *it <= Duration::from_hours(2);
    let wrong = "must be 0, or whole seconds up to 2 hours";
    valid(duration(text)?, fits, wrong)
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
    let bytes = quantity(text, &UNITS).ok_or_else(|| ValueKind::BYTES.expected())?;
    valid(bytes, |it| *it <= 1 << 46, "must be at most 65536 GiB")
}

/// Bytes that one buffer may hold: enough for the smallest packets, and within what a length field of 32 bits can say.
pub fn buffer(text: &str) -> Result<usize, Wrong> {
    let bytes = usize::try_from(bytes(text)?).unwrap_or(usize::MAX);
    let fits = |it: &usize| (1_024..=1 << 30).contains(it);
    valid(bytes, fits, "must be from 1024 bytes to 1 GiB")
}

/// A Kafka topic, as the brokers have it.
pub fn topic(text: &str) -> Result<String, Wrong> {
    let wrong = format!("invalid topic name: expected {TOPIC_NAME_RULE}");
    valid(text.to_owned(), |it| is_topic_name(it), &wrong)
}

/// What the names of topics begin with; may be empty.
pub fn topic_prefix(text: &str) -> Result<String, Wrong> {
    let wrong = "invalid topic prefix: expected up to 128 characters of A-Z, a-z, 0-9, ., _ and -";
    let fits = |it: &String| it.len() <= 128 && has_topic_characters(it);
    valid(text.to_owned(), fits, wrong)
}

/// Addresses and networks.
pub fn proxies(text: &str) -> Result<TrustedProxies, Wrong> {
    let proxies = TrustedProxies::parse(list(text)).map_err(|wrong| wrong.to_string())?;
    let fits = |it: &TrustedProxies| !it.is_empty();
    valid(proxies, fits, "expected at least one address or network")
}

/// A limit that may be there; 0: none.
pub fn optional_limit(text: &str) -> Result<Option<NonZeroU32>, Wrong> {
    let limit = u32::try_from(count(text)?);
    let limit = limit.map_err(|_| format!("must be at most {}", u32::MAX))?;
    Ok(NonZeroU32::new(limit))
}

/// Names of HTTP headers, in lower case.
pub fn header_names(text: &str) -> Result<Vec<HeaderName>, Wrong> {
    let name = |name: &str| match HeaderName::try_from(name) {
        Ok(header) if name != "*" => Ok(header),
        _ => Err(format!("{name:?} is not the name of a header")),
    };
    let names: BTreeSet<String> = list(text)
        .map(|text| name(text).map(|header| header.to_string()))
        .collect::<Result<_, _>>()?;
    valid(names, |it| !it.is_empty(), "expected at least one name")?
        .iter()
        .map(|text| name(text))
        .collect()
}

pub fn paths(text: &str) -> Result<Vec<PathBuf>, Wrong> {
    let paths: Vec<PathBuf> = list(text).map(PathBuf::from).collect();
    valid(paths, |it| !it.is_empty(), "expected at least one file")
}

/// What `aud` may be; one of them is enough.
pub fn audiences(text: &str) -> Result<Vec<String>, Wrong> {
    let audiences: Vec<String> = list(text).map(str::to_owned).collect();
    valid(
        audiences,
        |it| !it.is_empty(),
        "expected at least one audience",
    )
}

/// Whose events are accepted from Redis. What is wrong is everything that is.
pub fn emitters(text: &str) -> Result<Vec<Emitter>, Wrong> {
    let all = |wrong: Vec<InvalidEmitter>| {
        let wrong: Vec<String> = wrong.iter().map(InvalidEmitter::to_string).collect();
        wrong.join("; ")
    };
    let emitters = Emitter::parse_all(list(text)).map_err(all)?;
    valid(
        emitters,
        |it| !it.is_empty(),
        "expected at least one emitter",
    )
}

/// Where a claim is.
pub fn claim(text: &str) -> Result<Alternatives, Wrong> {
    Alternatives::parse(text).map_err(|why| why.to_string())
}

/// Names of signature algorithms; `none` is not one of them.
pub fn algorithms(text: &str) -> Result<Vec<Algorithm>, Wrong> {
    const ALL: &str = "HS256, HS384, HS512, RS256, RS384, RS512, PS256, PS384, PS512, ES256, ES384, EdDSA, Ed25519";
    let wrong = |found: &str| format!("expected {ALL}; found {found}");
    let algorithm = |name: &str| {
        let known = list(ALL).find(|known| known.eq_ignore_ascii_case(name));
        let known = known.and_then(auth::algorithm);
        known.ok_or_else(|| wrong(name))
    };
    let algorithms: Vec<Algorithm> = list(text).map(algorithm).collect::<Result<_, _>>()?;
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
        _ => Err(ValueKind::LOG_FORMAT.expected()),
    }
}

pub fn forwarded_header(text: &str) -> Result<ForwardedHeader, Wrong> {
    match text.to_ascii_lowercase().as_str() {
        "x-forwarded-for" => Ok(ForwardedHeader::XForwardedFor),
        "forwarded" => Ok(ForwardedHeader::Forwarded),
        _ => Err(ValueKind::FORWARDED_HEADER.expected()),
    }
}

/// Only read to reject what is not available yet.
fn kafka_mode(text: &str) -> Result<String, Wrong> {
    let mode = text.to_ascii_lowercase();
    match mode.as_str() {
        "broadcast" | "group" => Ok(mode),
        _ => Err(ValueKind::KAFKA_MODE.expected()),
    }
}

fn valid<T>(value: T, is_valid: impl Fn(&T) -> bool, otherwise: &str) -> Result<T, Wrong> {
    if is_valid(&value) {
        Ok(value)
    } else {
        Err(otherwise.to_owned())
    }
}

pub(super) fn list(text: &str) -> impl Iterator<Item = &str> {
    text.split(',')
        .map(str::trim)
        .filter(|item| !item.is_empty())
}

/// Rust's number parsers take a sign; a setting has none.
fn digits(text: &str) -> Option<&str> {
    (!text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())).then_some(text)
}

/// A whole number with one of these units (in lower case), times what the unit stands for. A product beyond 64 bits becomes the
/// largest number, which every caller refuses as too large.
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
}
