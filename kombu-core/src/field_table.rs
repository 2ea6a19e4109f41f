//! Tables of headers and arguments.

use std::fmt;
use std::sync::Arc;

use indexmap::IndexMap;
use serde::ser::{Serialize, SerializeMap, Serializer};

use crate::short_str::ShortStr;
use crate::value::Value;

/// A map from names to values that keeps the order of insertion: AMQP's word for tables of headers and arguments.
///
/// An empty table takes no memory beyond a pointer, and a clone shares the entries until one of the two is changed.
/// Two tables are equal when they hold equal entries in any order. A key with a lone surrogate, which only Python can write,
/// is held with U+10FFFE and the four hexadecimal digits in its place, and goes back to JSON as it came.
///
/// # Example
///
/// ```
/// use kombu_core::{FieldTable, Value};
///
/// let mut arguments = FieldTable::from([("x-max-length", 1000)]);
/// arguments.insert("x-overflow", "reject-publish");
/// assert_eq!(arguments.get("x-max-length").and_then(Value::as_i64), Some(1000));
/// assert_eq!(arguments.keys().map(|key| key.as_str()).collect::<Vec<_>>(), ["x-max-length", "x-overflow"]);
/// ```
#[derive(Clone, Default)]
pub struct FieldTable(Option<Arc<Entries>>);

type Entries = IndexMap<ShortStr, Value>;

impl FieldTable {
    /// Makes an empty table, without allocating.
    pub const fn new() -> Self {
        FieldTable(None)
    }

    pub(crate) fn from_entries(entries: Entries) -> Self {
        FieldTable((!entries.is_empty()).then(|| Arc::new(entries)))
    }

    /// Returns the number of entries.
    pub fn len(&self) -> usize {
        self.0.as_ref().map_or(0, |entries| entries.len())
    }

    /// Returns true when there are no entries.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Returns the value under `key`.
    pub fn get(&self, key: &str) -> Option<&Value> {
        self.0.as_ref()?.get(key)
    }

    /// Returns the value under `key` for changing.
    pub fn get_mut(&mut self, key: &str) -> Option<&mut Value> {
        Arc::make_mut(self.0.as_mut()?).get_mut(key)
    }

    /// Returns true when there is a value under `key`.
    pub fn contains_key(&self, key: &str) -> bool {
        self.get(key).is_some()
    }

    /// Puts `value` under `key`, at the end of the order or in the place of the value it replaces, which is returned.
    pub fn insert(&mut self, key: impl Into<ShortStr>, value: impl Into<Value>) -> Option<Value> {
        self.entries_mut().insert(key.into(), value.into())
    }

    /// Takes the value under `key` out; the others keep their order.
    pub fn remove(&mut self, key: &str) -> Option<Value> {
        if !self.contains_key(key) {
            return None;
        }
        Arc::make_mut(self.0.as_mut()?).shift_remove(key)
    }

    /// Returns the entries in order.
    pub fn iter(&self) -> Iter<'_> {
        Iter(self.0.as_ref().map(|entries| entries.iter()))
    }

    /// Returns the keys in order.
    pub fn keys(&self) -> impl Iterator<Item = &ShortStr> {
        self.iter().map(|(key, _)| key)
    }

    /// Returns the values in order.
    pub fn values(&self) -> impl Iterator<Item = &Value> {
        self.iter().map(|(_, value)| value)
    }

    fn entries_mut(&mut self) -> &mut Entries {
        Arc::make_mut(self.0.get_or_insert_default())
    }
}

impl PartialEq for FieldTable {
    fn eq(&self, other: &Self) -> bool {
        match (&self.0, &other.0) {
            (Some(left), Some(right)) => left == right,
            _ => self.is_empty() && other.is_empty(),
        }
    }
}

impl fmt::Debug for FieldTable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self).finish()
    }
}

impl<K: Into<ShortStr>, V: Into<Value>, const N: usize> From<[(K, V); N]> for FieldTable {
    fn from(entries: [(K, V); N]) -> Self {
        entries.into_iter().collect()
    }
}

impl<K: Into<ShortStr>, V: Into<Value>> FromIterator<(K, V)> for FieldTable {
    fn from_iter<I: IntoIterator<Item = (K, V)>>(entries: I) -> Self {
        let mut table = FieldTable::new();
        table.extend(entries);
        table
    }
}

impl<K: Into<ShortStr>, V: Into<Value>> Extend<(K, V)> for FieldTable {
    fn extend<I: IntoIterator<Item = (K, V)>>(&mut self, entries: I) {
        for (key, value) in entries {
            self.insert(key, value);
        }
    }
}

/// The entries of a [`FieldTable`] in order.
pub struct Iter<'a>(Option<indexmap::map::Iter<'a, ShortStr, Value>>);

impl<'a> Iterator for Iter<'a> {
    type Item = (&'a ShortStr, &'a Value);

    fn next(&mut self) -> Option<Self::Item> {
        self.0.as_mut()?.next()
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        self.0.as_ref().map_or((0, Some(0)), |entries| entries.size_hint())
    }
}

impl ExactSizeIterator for Iter<'_> {}

impl<'a> IntoIterator for &'a FieldTable {
    type Item = (&'a ShortStr, &'a Value);
    type IntoIter = Iter<'a>;

    fn into_iter(self) -> Iter<'a> {
        self.iter()
    }
}

/// The entries of a [`FieldTable`] in order, taken out of it.
pub struct IntoIter(Option<indexmap::map::IntoIter<ShortStr, Value>>);

impl Iterator for IntoIter {
    type Item = (ShortStr, Value);

    fn next(&mut self) -> Option<Self::Item> {
        self.0.as_mut()?.next()
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        self.0.as_ref().map_or((0, Some(0)), |entries| entries.size_hint())
    }
}

impl ExactSizeIterator for IntoIter {}

impl IntoIterator for FieldTable {
    type Item = (ShortStr, Value);
    type IntoIter = IntoIter;

    fn into_iter(self) -> IntoIter {
        IntoIter(self.0.map(|entries| Arc::unwrap_or_clone(entries).into_iter()))
    }
}

impl Serialize for FieldTable {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.len()))?;
        for (key, value) in self {
            map.serialize_entry(key, value)?;
        }
        map.end()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn order_is_kept_through_replacing_and_removing() {
        let mut table = FieldTable::from([("a", 1), ("b", 2), ("c", 3)]);
        assert_eq!(table.insert("b", 20), Some(Value::Int(2)));
        assert_eq!(table.remove("a"), Some(Value::Int(1)));
        assert_eq!(table.remove("missing"), None);
        assert_eq!(format!("{table:?}"), r#"{"b": Int(20), "c": Int(3)}"#);
    }

    #[test]
    fn clones_share_until_changed() {
        let original = FieldTable::from([("a", 1)]);
        let mut changed = original.clone();
        changed.insert("a", 2);
        assert_eq!(original.get("a"), Some(&Value::Int(1)));
        assert_eq!(changed.get("a"), Some(&Value::Int(2)));
    }

    #[test]
    fn order_does_not_matter_for_equality() {
        assert_eq!(FieldTable::from([("a", 1), ("b", 2)]), FieldTable::from([("b", 2), ("a", 1)]));
        let mut emptied = FieldTable::from([("a", 1)]);
        emptied.remove("a");
        assert_eq!(emptied, FieldTable::new());
    }
}
