//! How Redis is reached, what messages between instances are signed with, and which emitters are accepted.

use fleetcast_core::domain::emitters::Emitter;
use secrecy::SecretString;

use super::super::{AuthSettings, values};
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

    /// Whose messages are accepted from Redis beside those of instances.
    pub(super) fn emitters(&mut self) -> Vec<Emitter> {
        let is_set = |name| self.text(name).is_some();
        let has_redis = is_set("REDIS_URL") || self.input.mistyped.contains(&"REDIS_URL");
        let is_asked_for = is_set("REDIS_EMITTERS");
        self.ensure(
            has_redis || !is_asked_for,
            "REDIS_EMITTERS requires REDIS_URL: emitters publish in Redis".to_owned(),
        );
        let emitters = self.optional("REDIS_EMITTERS", values::emitters);
        let emitters = emitters.unwrap_or_default();
        let prefix = self.value("REDIS_PREFIX", bus::redis_prefix);
        let own = format!("{prefix}:");
        for emitter in emitters.iter().filter(|emitter| emitter.reaches(&own)) {
            self.ensure(
                false,
                format!("REDIS_EMITTERS: {emitter} has channels that begin with {own}, as those between instances do: choose another key, or another REDIS_PREFIX"),
            );
        }
        emitters
    }
}
