//! How a check ended.

use std::time::Duration;

use kombu_core::Support;

use crate::check::Check;

/// How a check ended.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Outcome {
    /// The promise is kept, natively or emulated.
    Passed(Support),
    /// The promise is broken, for this reason.
    Failed(String),
    /// The promise is not made; this is what core said of it.
    Skipped(String),
    /// The harness lacks something.
    NotRun(String),
    /// The promise is broken, as the harness said, for this reason.
    KnownFailure(String),
}

/// One check and how it ended.
#[derive(Clone, Debug)]
pub struct CheckResult {
    pub(crate) check: &'static Check,
    pub(crate) outcome: Outcome,
    pub(crate) took: Duration,
}

impl CheckResult {
    /// Returns the check.
    pub fn check(&self) -> &'static Check {
        self.check
    }

    /// Returns how it ended.
    pub fn outcome(&self) -> &Outcome {
        &self.outcome
    }

    /// Returns how long it took.
    pub fn took(&self) -> Duration {
        self.took
    }

    /// Says whether it failed, and was not known to.
    pub fn is_failure(&self) -> bool {
        matches!(self.outcome, Outcome::Failed(_))
    }
}
