//! The hash maps of this crate.

/// A map with a hash function that is fast for short names and seeded anew in each process.
pub(crate) type Map<K, V> = std::collections::HashMap<K, V, foldhash::fast::RandomState>;

/// A set with the same hash function.
pub(crate) type Set<K> = std::collections::HashSet<K, foldhash::fast::RandomState>;
