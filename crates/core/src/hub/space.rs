//! Over a cap, whoever takes most gives way: a noisy organisation shortens only its own window.

use std::collections::BinaryHeap;

use slotmap::SlotMap;

use super::OrganisationKey;

/// Lets organisations give way, if together they take more than `cap` bytes. `bytes` says what one of them takes, and is
/// asked once of each, however many entries must go: with many small organisations that is one of nearly everybody.
/// `free` lets go of the oldest entry of one and returns the bytes that became free, or `None` if there is none. `taken`
/// is what all of them take. Returns how many entries went.
pub(super) fn give_way<T>(
    organisations: &mut SlotMap<OrganisationKey, T>,
    taken: &mut usize,
    cap: usize,
    bytes: impl Fn(&T) -> usize,
    mut free: impl FnMut(&mut T) -> Option<usize>,
) -> u64 {
    if *taken <= cap {
        return 0;
    }
    // A little more than needed, so that this is not repeated at each append.
    let target = cap - cap / 64;
    let sizes = organisations.iter().map(|(key, one)| (bytes(one), key));
    let mut by_size: BinaryHeap<_> = sizes.filter(|(bytes, _)| *bytes > 0).collect();
    let mut gone = 0;
    while *taken > target {
        let Some((bytes, key)) = by_size.pop() else {
            break;
        };
        let one = &mut organisations[key];
        let (mut left, share) = (bytes, bytes - bytes / 64);
        while let Some(freed) = free(one) {
            gone += 1;
            left -= freed;
            *taken -= freed;
            if *taken <= target || left <= share {
                by_size.push((left, key));
                break;
            }
        }
    }
    gone
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::collections::VecDeque;

    use super::*;

    /// Organisations by the sizes of their entries, oldest first.
    type All = SlotMap<OrganisationKey, VecDeque<usize>>;

    fn all(sizes: &[&[usize]]) -> All {
        let mut all = All::with_key();
        for entries in sizes {
            all.insert(entries.iter().copied().collect());
        }
        all
    }

    fn sum(all: &All) -> usize {
        all.values().flatten().sum()
    }

    /// How many entries went, and how often an organisation was looked at.
    fn give_way_to(all: &mut All, cap: usize) -> (u64, usize) {
        let (mut taken, looks) = (sum(all), Cell::new(0));
        let look = || looks.set(looks.get() + 1);
        let gone = give_way(
            all,
            &mut taken,
            cap,
            |one| {
                look();
                one.iter().sum()
            },
            |one| {
                look();
                one.pop_front()
            },
        );
        assert_eq!(taken, sum(all));
        (gone, looks.get())
    }

    #[test]
    fn each_is_looked_at_once_however_many_must_go() {
        for many in [1_000, 16_000] {
            let mut all = all(&vec![&[100, 100, 100][..]; many]);
            let cap = many * 300 - 1;
            let (gone, looks) = give_way_to(&mut all, cap);
            assert!(gone > many as u64 / 32, "{gone}");
            assert_eq!(looks, many + usize::try_from(gone).unwrap());
            assert_eq!(give_way_to(&mut all, cap), (0, 0), "there is room");
        }
    }

    #[test]
    fn who_takes_most_gives_way_and_a_small_one_keeps_what_it_has() {
        for (sizes, cap, expected) in [
            // The oldest of the largest.
            (&[&[10, 20, 30, 40][..], &[15, 15]][..], 101, &[70, 30][..]),
            // Two that are alike take turns.
            (&[&[10; 50], &[10; 50], &[10; 5]], 650, &[300, 290, 50]),
            // Everybody, if need be.
            (&[&[5, 5], &[7], &[9]], 0, &[0, 0, 0]),
            (&[&[5, 5], &[7], &[9]], 26, &[10, 7, 9]),
            (&[&[], &[200]], 100, &[0, 0]),
        ] {
            let mut all = all(sizes);
            give_way_to(&mut all, cap);
            let mut left: Vec<usize> = all.values().map(|one| one.iter().sum()).collect();
            let mut expected = expected.to_vec();
            left.sort_unstable();
            expected.sort_unstable();
            assert_eq!(left, expected, "{sizes:?}");
        }
    }
}
