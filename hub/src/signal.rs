//! Ctrl-C ends the loop.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use kombu_core::hub::Progress;
use kombu_core::{Error, ErrorKind, Result};
use mio::Interest;
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::flag;
use signal_hook_mio::v1_0::Signals;

use crate::MioHub;

impl MioHub {
    /// Makes SIGINT (Ctrl-C) and SIGTERM end [`run_forever`](MioHub::run_forever) after the current tick. A second one, while
    /// a callback does not return or the program cleans up, ends the process as if this had not been called.
    ///
    /// # Errors
    ///
    /// `Internal` when the operating system refuses the handlers; `Closed` when the hub is closed.
    pub fn stop_on_signals(&self) -> Result<()> {
        let refused = |error: std::io::Error| {
            let why = "the operating system refuses the signal handlers";
            Error::new(ErrorKind::Internal, why).during("hub.stop_on_signals").caused_by(error)
        };
        let mut signals = Signals::new([SIGINT, SIGTERM]).map_err(refused)?;
        let again = Arc::new(AtomicBool::new(false));
        for signal in [SIGINT, SIGTERM] {
            // In this order: the first signal finds the flag unset, and sets it.
            flag::register_conditional_default(signal, Arc::clone(&again)).map_err(refused)?;
            flag::register(signal, Arc::clone(&again)).map_err(refused)?;
        }
        let slot = std::rc::Rc::new(std::cell::RefCell::new(None::<Signals>));
        let callback_slot = std::rc::Rc::clone(&slot);
        self.io().add_source(
            &mut signals,
            Interest::READABLE,
            Box::new(move |hub, _| {
                let arrived =
                    callback_slot.borrow_mut().as_mut().is_some_and(|signals| signals.pending().next().is_some());
                if arrived {
                    hub.stop();
                }
                Progress::Drained
            }),
        )?;
        *slot.borrow_mut() = Some(signals);
        Ok(())
    }
}
