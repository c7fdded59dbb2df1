//! Small sets and maps of which every connection has its own. A B-tree allocates a node for eleven elements, even for one; these
//! take what they hold.

use std::borrow::Borrow;
use std::ops::Index;

/// A set that does not change, in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SortedSet<T>(Box<[T]>);

/// A map that does not change, by name, in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NamedValues<V>(Box<[(String, V)]>);

impl<T> SortedSet<T> {
    pub fn contains<Q: Ord + ?Sized>(&self, wanted: &Q) -> bool
    where
        T: Borrow<Q>,
    {
        let found = self.0.binary_search_by(|item| item.borrow().cmp(wanted));
        found.is_ok()
    }

    pub fn iter(&self) -> impl Iterator<Item = &T> {
        self.0.iter()
    }

    pub fn len(&self) -> usize {
        self.0.len()
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl<T> Default for SortedSet<T> {
    fn default() -> Self {
        Self(Box::default())
    }
}

impl<T: Ord> FromIterator<T> for SortedSet<T> {
    fn from_iter<I: IntoIterator<Item = T>>(items: I) -> Self {
        let mut items: Vec<T> = items.into_iter().collect();
        items.sort_unstable();
        items.dedup();
        Self(items.into_boxed_slice())
    }
}

impl<V> NamedValues<V> {
    pub fn get(&self, name: &str) -> Option<&V> {
        let found = self.0.binary_search_by(|(held, _)| held.as_str().cmp(name));
        found.ok().map(|at| &self.0[at].1)
    }

    pub fn keys(&self) -> impl Iterator<Item = &String> {
        self.0.iter().map(|(name, _)| name)
    }

    pub fn len(&self) -> usize {
        self.0.len()
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// Of a name that is given twice the first value counts.
impl<V> FromIterator<(String, V)> for NamedValues<V> {
    fn from_iter<I: IntoIterator<Item = (String, V)>>(named: I) -> Self {
        let mut named: Vec<_> = named.into_iter().collect();
        named.sort_by(|(one, _), (other, _)| one.cmp(other));
        named.dedup_by(|(later, _), (first, _)| later == first);
        Self(named.into_boxed_slice())
    }
}

/// Panics where there is no such name.
impl<V> Index<&str> for NamedValues<V> {
    type Output = V;

    fn index(&self, name: &str) -> &V {
        self.get(name).expect("a name that is there")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn set_holds_each_item_once_and_in_order() {
        let set: SortedSet<String> = ["b", "a", "c", "a"]
            .map(str::to_owned)
            .into_iter()
            .collect();
        assert_eq!(set.iter().collect::<Vec<_>>(), ["a", "b", "c"]);
        assert!(["a", "b", "c"].iter().all(|item| set.contains(*item)));
        assert!(!set.contains("") && !set.contains("bb") && !set.contains("d"));
        assert!(SortedSet::<String>::default().is_empty());
    }

    #[test]
    fn values_are_found_by_name() {
        let named = [("b", 2), ("a", 1), ("b", 3)].map(|(name, value)| (name.to_owned(), value));
        let named: NamedValues<i32> = named.into_iter().collect();
        assert_eq!(named.keys().collect::<Vec<_>>(), ["a", "b"]);
        assert_eq!((named["a"], named["b"], named.get("c")), (1, 2, None));
    }
}
