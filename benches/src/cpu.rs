//! Processor time.

use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::TimeValLike;

/// Returns the processor time this process has used so far, in user code and in the system for it, in seconds.
///
/// # Panics
///
/// When the operating system does not say.
pub fn used() -> f64 {
    let usage = getrusage(UsageWho::RUSAGE_SELF).expect("the process may ask about itself");
    (usage.user_time().num_microseconds() + usage.system_time().num_microseconds()) as f64 / 1e6
}
