//! What a machine lacks to run a test.

use std::error::Error;
use std::fmt;

/// Says what is missing or broken on this machine, and what to do about it.
///
/// Its `Debug` text is its `Display` text, so that `unwrap` shows the advice and not a struct.
pub struct SetupError(String);

impl SetupError {
    /// Makes the error that says `advice`.
    pub(crate) fn new(advice: impl Into<String>) -> Self {
        SetupError(advice.into())
    }
}

impl fmt::Display for SetupError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for SetupError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Error for SetupError {}
