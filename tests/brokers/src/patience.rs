//! How long tests wait for what must happen.

use std::thread;
use std::time::{Duration, Instant};

/// How long a test waits for something that must happen before it fails: a minute.
///
/// Generous on purpose. A test that passes never waits for it; a test on a loaded machine must not fail because of it. It
/// proves *that* something happens, never *how fast*.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// Returns whether `condition` became true within `patience`; looks every 2 milliseconds, and at least once.
///
/// For what has no event to wait for, such as a key in a server. The pause between two looks only saves processor time: no
/// outcome depends on its length.
///
/// # Example
///
/// ```
/// use kombu_brokers::{PATIENCE, eventually};
///
/// let mut looks = 0;
/// assert!(eventually(PATIENCE, || { looks += 1; looks == 3 }), "the third look finds it");
/// ```
#[must_use = "assert it, with a message that says what did not happen"]
pub fn eventually(patience: Duration, mut condition: impl FnMut() -> bool) -> bool {
    let deadline = Instant::now() + patience;
    loop {
        if condition() {
            return true;
        }
        if Instant::now() >= deadline {
            return false;
        }
        thread::sleep(PAUSE);
    }
}

const PAUSE: Duration = Duration::from_millis(2);
