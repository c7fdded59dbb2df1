//! Several sorted lists as one, of which each may have been read in part only.

/// The first items of a sorted list.
#[derive(Debug)]
pub struct SortedPart<P, T> {
    pub items: Vec<(P, T)>,
    /// What was read of it goes up to here, and there may be more behind. `None`: that was all.
    pub up_to: Option<P>,
}

/// What is known to come first of all of them together: nothing behind the place up to which the shortest part was read.
pub fn merged<P: Ord + Clone, T>(
    parts: impl IntoIterator<Item = SortedPart<P, T>>,
) -> SortedPart<P, T> {
    let mut up_to = None;
    let mut items = Vec::new();
    for part in parts {
        if let Some(end) = part.up_to
            && up_to.as_ref().is_none_or(|up_to| end < *up_to)
        {
            up_to = Some(end);
        }
        items.extend(part.items);
    }
    if let Some(up_to) = &up_to {
        items.retain(|(place, _)| place <= up_to);
    }
    items.sort_by(|(one, _), (other, _)| one.cmp(other));
    SortedPart { items, up_to }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The lists are read again for each step, as they are for each page.
    #[test]
    fn parts_of_any_length_give_everything_once_and_in_order() {
        let lists: [Vec<u32>; 4] = [
            (0..100).filter(|number| number % 3 == 0).collect(),
            (0..100).filter(|number| number % 3 == 1).collect(),
            vec![],
            (0..100).filter(|number| number % 3 == 2).take(4).collect(),
        ];
        let mut all: Vec<u32> = lists.iter().flatten().copied().collect();
        all.sort_unstable();
        for most in 1..40 {
            let mut seen = Vec::new();
            let mut after = None;
            loop {
                let part = |list: &Vec<u32>| {
                    let following = list.iter().filter(|one| Some(**one) > after);
                    let items: Vec<_> = following.take(most).map(|one| (*one, ())).collect();
                    let up_to = items.get(most - 1).map(|(last, ())| *last);
                    SortedPart { items, up_to }
                };
                let merged = merged(lists.iter().map(part));
                seen.extend(merged.items.iter().map(|(one, ())| *one));
                let Some(up_to) = merged.up_to else { break };
                assert!(Some(up_to) > after, "each step gets on");
                after = Some(up_to);
            }
            assert_eq!(seen, all, "{most}");
        }
    }

    /// Where items are left out of a part, such as connections without the wanted room, it still goes up to where it was read.
    #[test]
    fn a_part_without_items_holds_the_others_back() {
        let none = SortedPart::<u32, ()> {
            items: vec![],
            up_to: Some(5),
        };
        let other = SortedPart {
            items: vec![(4, ()), (5, ()), (6, ())],
            up_to: None,
        };
        let merged = merged([none, other]);
        assert_eq!(merged.items, [(4, ()), (5, ())]);
        assert_eq!(merged.up_to, Some(5));
    }
}
