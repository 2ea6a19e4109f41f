//! Where hubs come from when the application made none.

use std::sync::OnceLock;

use super::HubHandle;
use crate::error::{Error, ErrorKind, Result};

/// Makes hubs on threads of their own. A hub crate submits one through [`HubFactoryEntry`] or [`set_hub_factory`].
pub trait HubFactory: Send + Sync {
    /// Returns the hub on the process's one shared hub thread, started at first use. That thread runs no code of the
    /// application.
    ///
    /// # Errors
    ///
    /// `Internal` when the thread or its poller cannot be made.
    fn shared(&self) -> Result<HubHandle>;

    /// Returns a new hub on a new thread called `name`; the thread ends when the hub is [stopped](HubHandle::stop).
    ///
    /// # Errors
    ///
    /// `Internal` when the thread or its poller cannot be made.
    fn dedicated(&self, name: &str) -> Result<HubHandle>;
}

/// The inventory entry by which a hub crate offers its factory to every program that links it.
pub struct HubFactoryEntry(pub &'static dyn HubFactory);

inventory::collect!(HubFactoryEntry);

static CHOSEN: OnceLock<&'static dyn HubFactory> = OnceLock::new();

/// Chooses the factory at run time; for static libraries, where inventory entries get lost.
///
/// # Errors
///
/// `InvalidState` when one was chosen already.
pub fn set_hub_factory(factory: &'static dyn HubFactory) -> Result<()> {
    CHOSEN.set(factory).map_err(|_| Error::new(ErrorKind::InvalidState, "a hub factory is chosen already"))
}

fn factory() -> Result<&'static dyn HubFactory> {
    if let Some(chosen) = CHOSEN.get() {
        return Ok(*chosen);
    }
    inventory::iter::<HubFactoryEntry>.into_iter().next().map(|entry| entry.0).ok_or_else(|| {
        Error::new(
            ErrorKind::InvalidState,
            "the connection is registered with no hub and no hub implementation is linked: \
             add the crate `kombu-hub` and `use kombu_hub as _;`, or call `register_with_event_loop`",
        )
    })
}

/// Returns the hub on the process's one shared hub thread, which runs no code of the application; for what must go on while a
/// callback takes its time.
///
/// # Errors
///
/// `InvalidState` when no hub implementation is linked; `Internal` when the thread or its poller cannot be made.
pub fn shared_hub() -> Result<HubHandle> {
    factory()?.shared()
}

pub(crate) fn dedicated_hub(name: &str) -> Result<HubHandle> {
    factory()?.dedicated(name)
}
