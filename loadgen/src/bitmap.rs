//! Sets of numbers as one bit each: what a client got of millions of records is a few megabytes.

/// A set of the sequence numbers below its bound.
#[derive(Debug, Default, Clone)]
pub(crate) struct Bitmap {
    words: Vec<u64>,
}

impl Bitmap {
    pub(crate) fn with_bound(bound: u32) -> Self {
        Self {
            words: vec![0; bound.div_ceil(64) as usize],
        }
    }

    /// Makes room for `number`.
    pub(crate) fn grow_to(&mut self, number: u32) {
        let words = number as usize / 64 + 1;
        if self.words.len() < words {
            self.words.resize(words, 0);
        }
    }

    pub(crate) fn contains(&self, number: u32) -> bool {
        let word = self.words.get(number as usize / 64);
        word.is_some_and(|word| word >> (number % 64) & 1 == 1)
    }

    /// Whether `number` is new here; nothing when it lies beyond the bound.
    pub(crate) fn insert(&mut self, number: u32) -> Option<bool> {
        let word = self.words.get_mut(number as usize / 64)?;
        let bit = 1 << (number % 64);
        let new = *word & bit == 0;
        *word |= bit;
        Some(new)
    }

    pub(crate) fn len(&self) -> u64 {
        self.words
            .iter()
            .map(|word| u64::from(word.count_ones()))
            .sum()
    }

    /// How many of ours `other` does not have.
    pub(crate) fn count_not_in(&self, other: &Self) -> u64 {
        let others = other.words.iter().copied().chain(std::iter::repeat(0));
        self.words
            .iter()
            .zip(others)
            .map(|(ours, theirs)| u64::from((ours & !theirs).count_ones()))
            .sum()
    }

    /// Ours that `other` does not have, smallest first.
    pub(crate) fn not_in<'a>(&'a self, other: &'a Self) -> impl Iterator<Item = u32> + 'a {
        let others = other.words.iter().copied().chain(std::iter::repeat(0));
        (0u32..)
            .zip(self.words.iter().zip(others))
            .flat_map(|(index, (ours, theirs))| {
                let left = ours & !theirs;
                (0..64)
                    .filter(move |bit| left >> bit & 1 == 1)
                    .map(move |bit| index * 64 + bit)
            })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn missing_numbers_are_named() {
        let mut seen = Bitmap::with_bound(100);
        seen.insert(0);
        seen.insert(70);
        let mut all = Bitmap::with_bound(100);
        for number in [0, 3, 70, 99] {
            all.insert(number);
        }
        assert_eq!(all.not_in(&seen).collect::<Vec<_>>(), [3, 99]);
        assert_eq!(
            (all.count_not_in(&seen), seen.count_not_in(&all), all.len()),
            (2, 0, 4)
        );
    }
}
