//! What applications declare: exchanges, queues, and the bindings between them.

mod binding;
mod exchange;
mod queue;

pub use binding::Binding;
pub use exchange::{Exchange, ExchangeKind};
pub use queue::Queue;

use crate::connection::Connection;
use crate::pending::Pending;

/// Something that can be declared on a connection: an [`Exchange`] or a [`Queue`] with its exchange and bindings.
pub trait Entity: sealed::Sealed {
    /// Declares it; declaring what exists with the same properties is no error.
    fn declare(&self, connection: &Connection) -> Pending<()>;
}

pub(crate) mod sealed {
    /// Keeps [`Entity`](super::Entity) to the entities of this crate.
    pub trait Sealed {}
}
