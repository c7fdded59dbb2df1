//! Which topics stand behind the names. librdkafka does not tell a reader that its topic was deleted and recreated.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use tracing::debug;

use super::super::client::Context;
use super::super::ffi::MetadataClient;

/// Asks for ids now and then, and never waits long for an answer: some brokers have none, the mock broker says nothing at all.
#[derive(Debug, Default)]
pub(super) struct TopicIds {
    /// When the last question went out, in monotonic milliseconds.
    asked_ms: Option<u64>,
    /// It is not answered yet.
    waiting: bool,
    /// The question before was never answered.
    deaf: bool,
}

impl TopicIds {
    const EVERY_MS: u64 = 10_000;
    const TIMEOUT: Duration = Duration::from_secs(2);
    /// Kafka answers in some 4 ms, most of which has passed by then.
    const WAIT: Duration = Duration::from_millis(20);
    /// This look was called for, because of something that an id may explain.
    const WAIT_WHEN_CALLED: Duration = Duration::from_millis(250);

    /// Asks if it is time, or at once when this look was called for.
    pub(super) fn ask(
        &mut self,
        client: &mut MetadataClient<Context>,
        topics: &[Arc<str>],
        called: bool,
        now_ms: u64,
    ) {
        let since = |asked_ms: u64| now_ms.saturating_sub(asked_ms);
        let due = self
            .asked_ms
            .is_none_or(|asked_ms| since(asked_ms) >= Self::EVERY_MS);
        if topics.is_empty() || !(due || called && !self.waiting) {
            return;
        }
        self.deaf = self.waiting;
        self.waiting = true;
        self.asked_ms = Some(now_ms);
        let names: Vec<&str> = topics.iter().map(AsRef::as_ref).collect();
        client.ask_ids(&names, Self::TIMEOUT);
    }

    /// A topic was found whose id is not known: the next look asks.
    pub(super) fn hurry(&mut self) {
        if !self.waiting {
            self.asked_ms = None;
        }
    }

    /// The answer, if it has come. Without it nothing is known, and nothing changes.
    pub(super) fn take(
        &mut self,
        client: &mut MetadataClient<Context>,
        called: bool,
    ) -> HashMap<Arc<str>, [u8; 16]> {
        if !self.waiting {
            return HashMap::new();
        }
        let wait = match (self.deaf, called) {
            (true, _) => Duration::ZERO,
            (false, true) => Self::WAIT_WHEN_CALLED,
            (false, false) => Self::WAIT,
        };
        let Some(answer) = client.ids(wait) else {
            return HashMap::new();
        };
        self.waiting = false;
        match answer {
            Ok(ids) => {
                self.deaf = false;
                let is_id = |(_, id): &(String, [u8; 16])| *id != [0; 16];
                let ids = ids.into_iter().filter(is_id);
                ids.map(|(topic, id)| (Arc::from(topic), id)).collect()
            }
            Err(why) => {
                debug!("no topic ids: {why}");
                self.deaf = true;
                HashMap::new()
            }
        }
    }
}
