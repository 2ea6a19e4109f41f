//! The trait of a transport: one broker connection.

use std::sync::Arc;

use async_trait::async_trait;

use crate::FieldTable;
use crate::capability::Capabilities;
use crate::channel::Channel;
use crate::clock::Clock;
use crate::error::Result;
use crate::hub::Hub;
use crate::url::BrokerUrl;

/// One broker connection, made by the [registry](crate::registry) from a URL.
///
/// # For implementers
///
/// *Order of calls.* [`register_with_event_loop`](Transport::register_with_event_loop) once, on the hub's thread; then
/// [`connect`](Transport::connect) once; then [`channel`](Transport::channel) any number of times; then
/// [`close`](Transport::close) once. A transport is single-use: after an error of scope `Connection`, core closes it and makes a
/// new one.
///
/// *Threads.* `async fn`s run as tasks of the hub's I/O class on the hub's thread, one at a time. None may block: sockets are
/// non-blocking and registered with the hub.
///
/// *Time.* All time comes from the hub, or from [`TransportConfig::clock`].
#[async_trait]
pub trait Transport: Send + Sync {
    /// Returns what the transport can do: by its kind before it is connected, by what the broker answered after.
    fn capabilities(&self) -> Arc<Capabilities>;

    /// Attaches the transport to the loop that will carry it. `hub` is the I/O view: what is registered through it counts as
    /// the transport's, and its [`handle`](Hub::handle) may be kept.
    ///
    /// # Errors
    ///
    /// `InvalidState` when it is attached already.
    fn register_with_event_loop(&self, hub: &dyn Hub) -> Result<()>;

    /// Connects and checks credentials, so that a wrong password or database is found here. Core bounds the time.
    ///
    /// # Errors
    ///
    /// `ConnectionLost` (nobody answers; worth a retry), `AccessRefused`, `Protocol`, `InvalidArgument`.
    async fn connect(&self) -> Result<()>;

    /// Opens a channel.
    ///
    /// # Errors
    ///
    /// `Overloaded` when there are too many; those of the connection.
    async fn channel(&self) -> Result<Arc<dyn Channel>>;

    /// Closes every channel and the connection, flushing what is queued. Nothing of the transport stays registered with the hub.
    ///
    /// # Errors
    ///
    /// When the broker could not be told; the transport is closed all the same.
    async fn close(&self) -> Result<()>;
}

/// What a transport is made from.
#[derive(Clone, Debug)]
pub struct TransportConfig {
    /// Where the broker is, and as whom to connect.
    pub url: BrokerUrl,
    /// The other URLs of the connection, in the order in which they are tried. Core makes a transport of each in turn; a
    /// transport may use them itself, as one that asks sentinels does.
    pub alternates: Vec<BrokerUrl>,
    /// The transport's own options by Kombu's names; those of the URL's query are among them, as text.
    pub options: FieldTable,
    /// Where time comes from.
    pub clock: Arc<dyn Clock>,
}
