//! A topic that was deleted or made anew: everybody is told, once for all of its partitions.
//!
//! They may be found to be gone one by one. Who was told when the first was, or came without a past since, is not told again for
//! another one unless something was read of that one in between.

use std::collections::HashMap;
use std::sync::Arc;

use super::outlet::Outlet;
use super::{Hub, Now};
use crate::domain::protocol::ResyncReason;

/// Topics of which some partitions were found to be gone, and others are still there.
#[derive(Debug, Default)]
pub(super) struct Told(HashMap<Arc<str>, Before>);

#[derive(Debug, Clone, Copy)]
struct Before {
    /// The newest index that there was then: what comes under a later one is of another topic.
    index: u32,
    /// The newest append then.
    appends: u64,
}

impl<O: Outlet> Hub<O> {
    /// What was read under this index belongs to a topic that is gone.
    pub(super) fn gone(&mut self, index: u32, now: Now) {
        let Some((topic, appended)) = self.positions.last_append(index) else {
            return;
        };
        let before = self.told.0.get(&topic).copied();
        let same = before.filter(|before| index <= before.index);
        let told = same.filter(|before| appended <= before.appends);
        let bound = same.map_or(self.positions.newest_index(), |before| before.index);
        for gone in self.positions.remove(index, now) {
            self.forget_partition(gone);
        }
        for key in self.connections.keys().collect::<Vec<_>>() {
            let began = self.connections[key].began;
            let knows = told.is_some_and(|told| began >= Some(told.appends));
            if !knows {
                self.resync(key, ResyncReason::TopicRecreated, now);
            }
        }
        if self.positions.has_up_to(&topic, bound) {
            let told = told.unwrap_or(Before {
                index: bound,
                appends: self.appends,
            });
            self.told.0.insert(topic, told);
        } else {
            self.told.0.remove(&topic);
        }
    }
}
