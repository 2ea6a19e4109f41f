//! Which transports there are: the linked ones by `inventory`, others by [`register`].

use std::sync::{Arc, PoisonError, RwLock};

use crate::error::{Error, ErrorKind, Result};
use crate::transport::{Transport, TransportConfig};

/// Describes a transport to the registry.
#[derive(Clone, Copy)]
pub struct TransportEntry {
    /// The transport's name, such as `redis`.
    pub name: &'static str,
    /// The URL schemes it serves, such as `redis` and `rediss`.
    pub schemes: &'static [&'static str],
    /// One line on what it is.
    pub description: &'static str,
    /// Makes a transport; must not do any I/O. Bad URLs and options are found here.
    pub make: fn(TransportConfig) -> Result<Arc<dyn Transport>>,
}

inventory::collect!(TransportEntry);

static REGISTERED: RwLock<Vec<TransportEntry>> = RwLock::new(Vec::new());

/// Offers a transport at run time: for static libraries, where inventory entries get lost, for tests, and to replace a linked
/// one. The latest registration of a scheme wins.
pub fn register(entry: TransportEntry) {
    REGISTERED.write().unwrap_or_else(PoisonError::into_inner).push(entry);
}

/// Returns every transport, those registered at run time first, latest first.
pub fn transports() -> Vec<TransportEntry> {
    let mut entries = REGISTERED.read().unwrap_or_else(PoisonError::into_inner).clone();
    entries.reverse();
    let mut linked: Vec<_> = inventory::iter::<TransportEntry>.into_iter().copied().collect();
    // The order of inventory is the linker's; sorted, messages are the same everywhere.
    linked.sort_by_key(|entry| entry.name);
    entries.extend(linked);
    entries
}

/// Returns the transport that serves `scheme`.
///
/// # Errors
///
/// `UnknownTransport`, listing the known schemes and the nearest one.
pub fn find(scheme: &str) -> Result<TransportEntry> {
    let entries = transports();
    if let Some(entry) = entries.iter().find(|entry| entry.schemes.contains(&scheme)) {
        return Ok(*entry);
    }
    let mut known: Vec<&str> = entries.iter().flat_map(|entry| entry.schemes.iter().copied()).collect();
    known.sort_unstable();
    known.dedup();
    let hint = match scheme {
        "redis" | "rediss" | "valkey" | "valkeys" | "sentinel" => not_linked("redis"),
        "amqp" | "amqps" => not_linked("amqp"),
        "memory" => not_linked("memory"),
        _ => nearest(scheme, &known).map(|name| format!("; did you mean `{name}`?")).unwrap_or_default(),
    };
    let listed = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
    Err(Error::new(ErrorKind::UnknownTransport, format!("unknown transport `{scheme}`; compiled in: {listed}{hint}")))
}

fn not_linked(name: &str) -> String {
    format!("; `{name}` is a feature of the crate `kombu`, or add `use kombu_{name} as _;`")
}

/// Returns the name nearest to `wanted`, if one is near: at most a third of its letters differ, or two.
pub fn nearest<'a>(wanted: &str, names: &[&'a str]) -> Option<&'a str> {
    let limit = (wanted.chars().count() / 3).max(2);
    names
        .iter()
        .map(|name| (distance(wanted, name), *name))
        .filter(|(distance, _)| *distance <= limit)
        .min()
        .map(|(_, name)| name)
}

/// The Damerau-Levenshtein distance (adjacent letters swapped count once).
fn distance(a: &str, b: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    let mut rows = vec![vec![0; b.len() + 1]; a.len() + 1];
    for (i, row) in rows.iter_mut().enumerate() {
        row[0] = i;
    }
    for (j, cell) in rows[0].iter_mut().enumerate() {
        *cell = j;
    }
    for i in 1..=a.len() {
        for j in 1..=b.len() {
            let cost = usize::from(a[i - 1] != b[j - 1]);
            let mut best = (rows[i - 1][j] + 1).min(rows[i][j - 1] + 1).min(rows[i - 1][j - 1] + cost);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                best = best.min(rows[i - 2][j - 2] + 1);
            }
            rows[i][j] = best;
        }
    }
    rows[a.len()][b.len()]
}

/// Offers a [`TransportEntry`] to every program that links the crate.
///
/// A crate that is only named in `Cargo.toml` is not linked: the program must mention it (`use kombu_redis as _;`), as the
/// facade crate `kombu` does for its features.
#[macro_export]
macro_rules! register_transport {
    ($entry:expr) => {
        $crate::inventory::submit! { $entry }
    };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nearest_finds_slips_and_nothing_far() {
        let names = ["amqp", "memory", "redis"];
        assert_eq!(nearest("redsi", &names), Some("redis"));
        assert_eq!(nearest("memroy", &names), Some("memory"));
        assert_eq!(nearest("postgres", &names), None);
    }
}
