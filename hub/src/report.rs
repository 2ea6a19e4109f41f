//! Where the errors go that nobody called for: panics of callbacks, dead descriptors.

use std::any::Any;
use std::cell::RefCell;
use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};

use kombu_core::{Error, ErrorKind};

type Handler = Box<dyn FnMut(&Error)>;

/// Calls the handler of [`on_error`](crate::MioHub::on_error), or logs.
#[derive(Default)]
pub(crate) struct Reporter {
    handler: RefCell<Option<Handler>>,
    logged: RefCell<HashMap<&'static str, Logged>>,
}

struct Logged {
    at: Instant,
    suppressed: u64,
}

/// The log says the same thing at most this often.
const LOG_INTERVAL: Duration = Duration::from_secs(1);

impl Reporter {
    /// Sets the handler and returns the one before, to be dropped by the caller.
    pub(crate) fn replace(&self, handler: Option<Handler>) -> Option<Handler> {
        self.handler.replace(handler)
    }

    /// Reports `error`, whose operation names the cause, at `now`.
    pub(crate) fn report(&self, now: Instant, error: &Error) {
        // Taken out while it runs: it may cause, and so report, another error, which is logged then.
        let handler = self.handler.take();
        let Some(mut handler) = handler else { return self.log(now, error) };
        let worked = catch_unwind(AssertUnwindSafe(|| handler(error))).is_ok();
        if !worked {
            self.log(now, error);
            self.log(now, &Error::new(ErrorKind::Panicked, "the error handler panicked").during("hub.on_error"));
        }
        let mut slot = self.handler.borrow_mut();
        if worked && slot.is_none() {
            *slot = Some(handler);
            return;
        }
        drop(slot);
        let _ = catch_unwind(AssertUnwindSafe(move || drop(handler)));
    }

    fn log(&self, now: Instant, error: &Error) {
        let cause = error.operation().unwrap_or("hub");
        let mut suppressed = 0;
        {
            let mut logged = self.logged.borrow_mut();
            if let Some(last) = logged.get_mut(cause) {
                if now.saturating_duration_since(last.at) < LOG_INTERVAL {
                    last.suppressed += 1;
                    return;
                }
                suppressed = last.suppressed;
            }
            logged.insert(cause, Logged { at: now, suppressed: 0 });
        }
        tracing::error!(%error, suppressed, "error in the event loop");
    }
}

/// Makes the error of a panic.
pub(crate) fn panicked(operation: &'static str, payload: &(dyn Any + Send)) -> Error {
    let text = payload.downcast_ref::<&str>().copied().or_else(|| payload.downcast_ref::<String>().map(String::as_str));
    let message = format!("a callback panicked and was removed: {}", text.unwrap_or("the panic carries no text"));
    Error::new(ErrorKind::Panicked, message).during(operation)
}
