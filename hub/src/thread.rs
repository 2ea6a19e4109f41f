//! Hubs on threads of their own, for programs that turn none.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Mutex, PoisonError, mpsc};
use std::thread;

use kombu_core::hub::{HubFactory, HubFactoryEntry, HubHandle};
use kombu_core::{Error, ErrorKind, Result};

use crate::MioHub;

/// The [`HubFactory`] of this crate; linking the crate offers it to core.
///
/// A program in which inventory entries get lost (a static library) hands it in itself:
///
/// ```
/// kombu_core::hub::set_hub_factory(&kombu_hub::HubThreads)?;
/// # Ok::<(), kombu_core::Error>(())
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct HubThreads;

/// The name of the process's one shared hub thread.
const SHARED_NAME: &str = "kombu-hub";

/// With the process it runs in.
static SHARED: Mutex<Option<(u32, HubHandle)>> = Mutex::new(None);

impl HubFactory for HubThreads {
    fn shared(&self) -> Result<HubHandle> {
        let mut shared = SHARED.lock().unwrap_or_else(PoisonError::into_inner);
        let process = std::process::id();
        // One that somebody stopped is of no use to the next, nor one whose thread a fork has left behind.
        if let Some((_, handle)) = shared.as_ref().filter(|(of, handle)| *of == process && !handle.is_closed()) {
            return Ok(handle.clone());
        }
        let handle = start(SHARED_NAME)?;
        *shared = Some((process, handle.clone()));
        Ok(handle)
    }

    fn dedicated(&self, name: &str) -> Result<HubHandle> {
        start(name)
    }
}

inventory::submit! {
    HubFactoryEntry(&HubThreads)
}

/// Starts a thread with a hub and returns the hub's handle.
fn start(name: &str) -> Result<HubHandle> {
    let failed = |why: &'static str| Error::new(ErrorKind::Internal, why).during("hub.start").with("thread", name);
    let no_thread = |error: io::Error| failed("the operating system gives no thread").caused_by(error);
    let (sender, receiver) = mpsc::channel();
    let hub_name = name.to_owned();
    let body = move || match MioHub::builder().name(hub_name).build() {
        Ok(hub) => {
            // The starter waits for this.
            let _ = sender.send(Ok(hub.handle()));
            drop(sender);
            turn(&hub);
        }
        Err(error) => {
            let _ = sender.send(Err(error));
        }
    };
    thread::Builder::new().name(name.to_owned()).spawn(body).map_err(no_thread)?;
    receiver.recv().map_err(|_| failed("the hub's thread died at birth"))?
}

/// Turns `hub` until it is stopped or closed.
fn turn(hub: &MioHub) {
    // Callbacks are guarded one by one; this catches what should not happen, so that the others on this thread live on.
    while !hub.is_closed() {
        match catch_unwind(AssertUnwindSafe(|| hub.run_forever())) {
            Ok(Ok(())) => return,
            Ok(Err(error)) => {
                tracing::error!(%error, hub = hub.name(), "the hub's thread ends");
                return;
            }
            Err(_) => tracing::error!(hub = hub.name(), "the hub's loop panicked; it goes on"),
        }
    }
}
