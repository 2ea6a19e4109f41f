//! At most one line of log per second and cause.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Remembers when each cause was last written about.
#[derive(Default)]
pub(crate) struct LogLimit(Mutex<HashMap<&'static str, Instant>>);

impl LogLimit {
    /// Says whether a line about `cause` may be written now, and counts it if so.
    pub(crate) fn allows(&self, cause: &'static str, now: Instant) -> bool {
        // Nothing panics while the lock is held.
        let mut last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match last.get(cause) {
            Some(at) if now.saturating_duration_since(*at) < INTERVAL => false,
            _ => {
                last.insert(cause, now);
                true
            }
        }
    }
}

const INTERVAL: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_line_per_second_and_cause() {
        let limit = LogLimit::default();
        let now = Instant::now();
        assert!(limit.allows("a", now));
        assert!(!limit.allows("a", now));
        assert!(limit.allows("b", now));
        assert!(limit.allows("a", now + INTERVAL));
    }
}
