//! What cursors call partitions: the same on every instance, whatever each of them knows of topic ids.

use std::sync::Arc;

use super::U24;

/// Names a partition the same way on every instance.
pub fn partition_hash(topic: &str, number: i32) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(topic.as_bytes());
    hasher.update(&[0]);
    hasher.update(&number.to_le_bytes());
    hasher.finalize()
}

/// Tells a topic from another one of the same name, deleted or recreated: a short hash of the topic's id, or [`Tag::UNKNOWN`].
///
/// It stands beside the name and not in it, because an instance may not have learned the id yet (or its brokers have none),
/// and must still understand, and be understood by, those that have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Tag(u16);

impl Tag {
    /// The id is not known. Fits every topic of the name.
    pub const UNKNOWN: Self = Self(0);

    /// All zeros is what brokers without ids answer: no id.
    pub fn of(topic_id: Option<[u8; 16]>) -> Self {
        topic_id
            .filter(|id| *id != [0; 16])
            .map_or(Self::UNKNOWN, |id| Self::from_hash(crc32fast::hash(&id)))
    }

    fn from_hash(hash: u32) -> Self {
        let short = u16::try_from(hash % u32::from(u16::MAX)).unwrap_or(0);
        // Zero is taken.
        Self(short.saturating_add(1))
    }

    pub fn is_known(self) -> bool {
        self != Self::UNKNOWN
    }

    /// Both are known, and they are not the same topic.
    pub fn differs(self, other: Self) -> bool {
        self.is_known() && other.is_known() && self != other
    }

    #[must_use]
    pub fn or(self, other: Self) -> Self {
        if self.is_known() { self } else { other }
    }

    pub(super) fn to_le_bytes(self) -> [u8; 2] {
        self.0.to_le_bytes()
    }

    pub(super) fn from_le_bytes(bytes: [u8; 2]) -> Self {
        Self(u16::from_le_bytes(bytes))
    }
}

/// A sorted list of partitions that instances agree on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Table {
    /// Of the names alone.
    pub digest: u32,
    /// Of all the tags; unknown unless all of them are known.
    pub tag: Tag,
    /// Hash and tag of each partition, by hash.
    pub names: Arc<[(u32, Tag)]>,
}

impl Table {
    pub fn new(mut names: Vec<(u32, Tag)>) -> Self {
        names.sort_unstable();
        names.dedup_by_key(|(hash, _)| *hash);
        let (mut digest, mut tags) = (crc32fast::Hasher::new(), crc32fast::Hasher::new());
        for (hash, tag) in &names {
            digest.update(&hash.to_le_bytes());
            tags.update(&tag.to_le_bytes());
        }
        let known = names.iter().all(|(_, tag)| tag.is_known());
        Self {
            digest: digest.finalize() & U24,
            tag: if known {
                Tag::from_hash(tags.finalize())
            } else {
                Tag::UNKNOWN
            },
            names: names.into(),
        }
    }

    /// Which of two topics of one name stands here; `None`: the partition does not.
    pub fn tag_of(&self, hash: u32) -> Option<Tag> {
        let at = self
            .names
            .binary_search_by_key(&hash, |(hash, _)| *hash)
            .ok()?;
        self.names.get(at).map(|(_, tag)| *tag)
    }

    /// What this table can read of a cursor over a table of this digest and tag.
    pub fn fits(&self, digest: u32, tag: Tag) -> bool {
        self.digest == digest && !self.tag.differs(tag)
    }
}
