//! Where reading begins of a partition that is read from further back than others: asked for again if its leader does not say, but not for
//! ever, because the server can do without.

use std::collections::HashMap;

use fleetcast_core::domain::record::TopicPartition;

/// So many looks are not answered before the partition is read without.
const TRIES: u32 = 8;

/// How often each partition was asked for without an answer.
#[derive(Default)]
pub(super) struct FurtherTries(HashMap<TopicPartition, u32>);

#[derive(Debug, PartialEq, Eq)]
pub(super) enum FurtherStart {
    At(i64),
    /// Nothing is read of it until then.
    AskAgain,
    GivenUp,
}

impl FurtherTries {
    pub(super) fn judge(&mut self, place: &TopicPartition, answer: Option<i64>) -> FurtherStart {
        if let Some(offset) = answer {
            self.0.remove(place);
            return FurtherStart::At(offset);
        }
        let tries = self.0.entry(place.clone()).or_default();
        *tries += 1;
        if *tries < TRIES {
            return FurtherStart::AskAgain;
        }
        self.0.remove(place);
        FurtherStart::GivenUp
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn h20_each_partition_that_is_not_answered_is_asked_for_again_and_not_for_ever() {
        let mut tries = FurtherTries::default();
        let (silent, slow) = (("published".into(), 0), ("published".into(), 1));
        assert_eq!(tries.judge(&slow, None), FurtherStart::AskAgain);
        for _ in 1..TRIES {
            assert_eq!(tries.judge(&silent, None), FurtherStart::AskAgain);
        }
        assert_eq!(tries.judge(&slow, Some(7)), FurtherStart::At(7));
        assert_eq!(tries.judge(&silent, None), FurtherStart::GivenUp);
        assert!(tries.0.is_empty());
    }
}
