//! What backs a SKIP: core refuses what would need the missing capability.

use crate::bench::Bench;
use crate::failure::Verdict;
use crate::need::Need;

/// Returns how core refused what `need` is about.
///
/// # Errors
///
/// When it did not.
pub(crate) fn refusal(_bench: &Bench, _need: Need) -> Verdict<String> {
    Ok("unprobed".to_owned())
}
