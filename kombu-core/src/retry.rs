//! How long to wait between attempts.

use std::time::Duration;

/// How long to wait between attempts to reach a broker: `start`, then `step` more each time, at most `max` (Kombu's
/// `interval_start`, `interval_step`, `interval_max`). There is no limit on attempts; deadlines bound them.
///
/// ```
/// use kombu_core::RetryPolicy;
/// use std::time::Duration;
///
/// let policy = RetryPolicy::default();
/// assert_eq!(policy.delay(0), Duration::from_millis(100));
/// assert_eq!(policy.delay(1000), Duration::from_secs(5));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RetryPolicy {
    /// The first wait; default 100 ms.
    pub start: Duration,
    /// How much longer each next wait is; default 400 ms.
    pub step: Duration,
    /// The longest wait; default 5 s.
    pub max: Duration,
}

impl RetryPolicy {
    /// Returns the wait after attempt number `attempt`, counted from 0.
    pub fn delay(&self, attempt: u32) -> Duration {
        self.step.saturating_mul(attempt).saturating_add(self.start).min(self.max)
    }
}

impl Default for RetryPolicy {
    fn default() -> Self {
        RetryPolicy { start: Duration::from_millis(100), step: Duration::from_millis(400), max: Duration::from_secs(5) }
    }
}
