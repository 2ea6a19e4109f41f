//! Where time comes from.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

/// A source of time. Everything that measures or waits takes one, so that tests can turn time by hand.
pub trait Clock: Send + Sync + fmt::Debug {
    /// Returns the monotonic time.
    fn now(&self) -> Instant;

    /// Returns the wall-clock time, for what other processes read.
    fn system_time(&self) -> SystemTime;

    /// Calls `wake` after every change of time that did not come by waiting; a clock that runs by itself never calls it.
    fn on_change(&self, wake: Arc<dyn Fn() + Send + Sync>) {
        drop(wake);
    }

    /// Says whether waiting makes time pass. `false` for clocks turned by hand: a hub then waits for
    /// [`on_change`](Clock::on_change) instead of for a time-out.
    fn runs(&self) -> bool {
        true
    }
}

/// Returns the time `delay` after `from`; a time too far away to be written is thirty years away.
pub fn instant_after(from: Instant, delay: Duration) -> Instant {
    from.checked_add(delay).unwrap_or_else(|| from + Duration::from_secs(30 * 365 * 24 * 60 * 60))
}

/// The operating system's clock.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> Instant {
        Instant::now()
    }

    fn system_time(&self) -> SystemTime {
        SystemTime::now()
    }
}

/// A clock that stands still until a test [advances](ManualClock::advance) it.
///
/// ```
/// use std::time::Duration;
/// use kombu_core::{Clock, ManualClock};
///
/// let clock = ManualClock::new();
/// let start = clock.now();
/// clock.advance(Duration::from_secs(3600));
/// assert_eq!(clock.now() - start, Duration::from_secs(3600));
/// ```
#[derive(Clone)]
pub struct ManualClock(Arc<Manual>);

struct Manual {
    start: Instant,
    system_start: SystemTime,
    state: Mutex<ManualState>,
}

struct ManualState {
    elapsed: Duration,
    wakes: Vec<Arc<dyn Fn() + Send + Sync>>,
}

impl ManualClock {
    /// Makes a clock that shows the time of the call.
    #[allow(clippy::new_without_default, reason = "a default clock should run")]
    pub fn new() -> Self {
        ManualClock(Arc::new(Manual {
            start: Instant::now(),
            system_start: SystemTime::now(),
            state: Mutex::new(ManualState { elapsed: Duration::ZERO, wakes: Vec::new() }),
        }))
    }

    /// Turns the clock forward and wakes every hub that runs by it.
    pub fn advance(&self, by: Duration) {
        let wakes = {
            let mut state = self.0.state.lock().unwrap_or_else(PoisonError::into_inner);
            state.elapsed += by;
            state.wakes.clone()
        };
        for wake in wakes {
            wake();
        }
    }

    fn elapsed(&self) -> Duration {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner).elapsed
    }
}

impl Clock for ManualClock {
    fn now(&self) -> Instant {
        self.0.start + self.elapsed()
    }

    fn system_time(&self) -> SystemTime {
        self.0.system_start + self.elapsed()
    }

    fn on_change(&self, wake: Arc<dyn Fn() + Send + Sync>) {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner).wakes.push(wake);
    }

    fn runs(&self) -> bool {
        false
    }
}

impl fmt::Debug for ManualClock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ManualClock").field("elapsed", &self.elapsed()).finish()
    }
}
