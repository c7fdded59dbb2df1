//! What an operator says about Redis, and what cannot work.

use secrecy::SecretString;

use super::signature::BusKeys;

/// The longest prefix, in bytes: it stands in the name of each channel.
const MAX_PREFIX: usize = 64;

#[derive(Debug, Clone)]
pub struct RedisSettings {
    pub url: SecretString,
    /// What names of channels and keys begin with.
    pub prefix: String,
    pub keys: BusKeys,
    /// The keys are those of the tokens' secrets, and change with them.
    pub keys_of_tokens: bool,
}

/// Whether `REDIS_URL` is one that can be used. The reasons never quote it.
pub fn check_redis_url(text: &str) -> Result<(), String> {
    let Some((scheme, rest)) = text.split_once("://") else {
        return Err(FORM.to_owned());
    };
    let scheme = scheme.to_ascii_lowercase();
    if scheme.contains("sentinel") {
        return Err(format!("a Redis Sentinel {NO_SUPPORT}"));
    }
    if scheme.contains("cluster") {
        return Err(format!("a Redis Cluster {NO_SUPPORT}"));
    }
    if !["redis", "rediss"].contains(&scheme.as_str()) {
        return Err(FORM.to_owned());
    }
    if rest.contains('#') {
        return Err("it has a fragment (#): TLS cannot be had without verifying the certificate, and a # in a password is written %23".to_owned());
    }
    let authority = rest.split(['/', '?']).next().unwrap_or_default();
    let hosts = authority.rsplit('@').next().unwrap_or_default();
    if hosts.contains(',') {
        return Err(format!(
            "several servers, as of a Cluster or Sentinels, {NO_SUPPORT}"
        ));
    }
    let readable = super::link::connection_info(text).is_ok();
    readable.then_some(()).ok_or_else(|| FORM.to_owned())
}

const FORM: &str = "expected redis://USER:PASSWORD@HOST:6379/0, or rediss:// for TLS, with the password percent-encoded";

const NO_SUPPORT: &str = "cannot be used: name one Redis, such as the address (of a proxy, a service or a DNS name) that leads to the primary";

/// What names in Redis begin with.
pub fn redis_prefix(text: &str) -> Result<String, String> {
    let fits = |byte: u8| byte.is_ascii_graphic() && !b"*?[]\\^".contains(&byte);
    if (1..=MAX_PREFIX).contains(&text.len()) && text.bytes().all(fits) {
        Ok(text.to_owned())
    } else {
        Err(format!(
            "expected 1 to {MAX_PREFIX} visible characters of ASCII, none of them * ? [ ] ^ or a backslash"
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_of_what_cannot_be_used_are_refused_with_what_to_do() {
        for good in [
            "redis://host",
            "redis://host:6380/3",
            "rediss://user:pass%23word@host:6379/0",
            "redis://:pa,ss@host",
            "redis://[::1]:6379",
            "REDIS://host",
        ] {
            assert_eq!(check_redis_url(good), Ok(()), "{good}");
        }
        for (bad, why) in [
            (
                "redis-sentinel://a:26379/mymaster",
                "Sentinel cannot be used",
            ),
            ("redis+sentinel://a:26379", "Sentinel cannot be used"),
            ("rediss+sentinel://a", "Sentinel cannot be used"),
            ("redis-cluster://a:7000", "Cluster cannot be used"),
            ("redis+cluster://a", "Cluster cannot be used"),
            ("redis://a:7000,b:7000/0", "several servers"),
            ("redis://:hush@a,b", "several servers"),
            ("rediss://:hush@a/#insecure", "fragment"),
            ("redis://:hu#sh@a", "fragment"),
            ("http://a", "expected redis://"),
            ("unix:///run/redis", "expected redis://"),
            ("redis+unix:///run/redis", "expected redis://"),
            ("a:6379", "expected redis://"),
            ("redis://", "expected redis://"),
            ("redis://a:x", "expected redis://"),
            ("redis://a/first", "expected redis://"),
        ] {
            let told = check_redis_url(bad).unwrap_err();
            assert!(
                told.contains(why) && !told.contains("hush"),
                "{bad}: {told}"
            );
        }
    }

    #[test]
    fn a_prefix_can_stand_in_a_pattern() {
        for good in ["fleetcast", "a", "eu:prod-1", &"x".repeat(64)] {
            assert_eq!(redis_prefix(good).as_deref(), Ok(good));
        }
        for bad in [
            "",
            " ",
            "a b",
            "a*",
            "a?",
            "[a",
            "a]",
            "a\\",
            "a\n",
            "\u{e9}",
            &"x".repeat(65),
        ] {
            assert!(redis_prefix(bad).is_err(), "{bad}");
        }
    }
}
