//! The visibility sweep.

/// Its timer.
#[derive(Default)]
pub(crate) struct Sweep;

impl Sweep {
    pub(crate) fn stop(&mut self) {}
}

impl crate::session::Session {
    /// Begins to sweep.
    pub(crate) fn start_sweeping(&self) {}
}
