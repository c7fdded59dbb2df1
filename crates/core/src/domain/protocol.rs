//! Codes.

/// Why a client must load its state anew.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Resync {
    Invalid,
    Foreign,
    Expired,
    Clock,
    Evicted,
    TopicRecreated,
    Gap,
}
impl Resync {
    pub const ALL: [Self; 7] = [
        Self::Invalid,
        Self::Foreign,
        Self::Expired,
        Self::Clock,
        Self::Evicted,
        Self::TopicRecreated,
        Self::Gap,
    ];
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Invalid => "cursor_invalid",
            Self::Foreign => "cursor_foreign",
            Self::Expired => "cursor_expired",
            Self::Clock => "clock",
            Self::Evicted => "evicted",
            Self::TopicRecreated => "topic_recreated",
            Self::Gap => "gap",
        }
    }
}
