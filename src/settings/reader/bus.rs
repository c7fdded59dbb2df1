//! How Redis is reached, and what is signed with.

use secrecy::SecretString;

use super::super::AuthSettings;
use super::SettingsReader;
use crate::auth;
use crate::bus::{self, BusKeys, RedisSettings};

impl SettingsReader {
    /// `None`: none is used, or something about it is wrong.
    pub(super) fn bus(&mut self, auth: &AuthSettings) -> Option<RedisSettings> {
        let secret = |text: &str| auth::jwt_secret(text).map(|()| SecretString::from(text));
        let prefix = self.value("REDIS_PREFIX", bus::redis_prefix);
        let own = self.optional("REDIS_SECRET", secret);
        let previous = self.optional("REDIS_SECRET_PREVIOUS", secret);
        let url = self.optional("REDIS_URL", |text| {
            bus::check_redis_url(text).map(|()| SecretString::from(text))
        })?;
        let keys_of_tokens = own.is_none();
        // The first one signs.
        let signing = own.map_or_else(|| auth.own.keys.secrets.clone(), |own| vec![own]);
        let keys = if signing.is_empty() {
            None
        } else {
            BusKeys::of(&[signing, previous.into_iter().collect()].concat())
        };
        let is_said = ["REDIS_SECRET", "JWT_SECRET"]
            .iter()
            .any(|name| self.text(name).is_some() || self.input.mistyped.contains(name));
        self.ensure(
            keys.is_some() || is_said,
            "REDIS_SECRET is required beside REDIS_URL where JWT_SECRET is not set: what instances send each other is signed (`openssl rand -base64 48` makes one, the same for all instances)".to_owned(),
        );
        Some(RedisSettings {
            url,
            prefix,
            keys: keys?,
            keys_of_tokens,
        })
    }
}
