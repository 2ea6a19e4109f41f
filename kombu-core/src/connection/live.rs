//! A connected transport, as long as it lives.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use crate::capability::Capabilities;
use crate::channel::Channel;
use crate::error::{Result, Scope};
use crate::transport::Transport;

/// A connected transport with the channel that declares and publishes.
pub(crate) struct Live {
    pub(super) transport: Arc<dyn Transport>,
    pub(crate) channel: Arc<dyn Channel>,
    /// Differs from that of every other `Live` of the process; what was declared through one is unknown to the next.
    pub(crate) generation: u64,
    /// The largest body that the transport takes.
    pub(crate) max_body: u64,
    /// Whether each message is looked at, for what else the transport does not take.
    pub(crate) limits_messages: bool,
    channel_is_dead: AtomicBool,
    transport_is_dead: AtomicBool,
}

impl Live {
    pub(super) fn new(transport: Arc<dyn Transport>, channel: Arc<dyn Channel>) -> Arc<Self> {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        let generation = NEXT.fetch_add(1, Ordering::Relaxed);
        let capabilities = transport.capabilities();
        let max_body = capabilities.max_body.unwrap_or(u64::MAX);
        let limits_messages = capabilities.limits_messages();
        Arc::new(Live {
            transport,
            channel,
            generation,
            max_body,
            limits_messages,
            channel_is_dead: AtomicBool::new(false),
            transport_is_dead: AtomicBool::new(false),
        })
    }

    pub(crate) fn is_dead(&self) -> bool {
        self.channel_is_dead.load(Ordering::Acquire)
    }

    /// Whether the transport itself is lost, and not its channel alone.
    pub(super) fn needs_new_transport(&self) -> bool {
        self.transport_is_dead.load(Ordering::Acquire)
    }

    /// Marks as lost what died with an error of `scope`; says whether that is news. The next operation makes another.
    pub(crate) fn bury(&self, scope: Scope) -> bool {
        match scope {
            Scope::Connection => {
                self.channel_is_dead.store(true, Ordering::Release);
                !self.transport_is_dead.swap(true, Ordering::AcqRel)
            }
            Scope::Channel => !self.channel_is_dead.swap(true, Ordering::AcqRel),
            Scope::Operation => false,
        }
    }

    /// Returns what the broker behind it can do.
    pub(crate) fn capabilities(&self) -> Arc<Capabilities> {
        self.transport.capabilities()
    }

    /// Opens a channel of its own for a consumer.
    pub(crate) async fn open_channel(&self) -> Result<Arc<dyn Channel>> {
        self.transport.channel().await
    }

    pub(super) async fn shut_down(&self) -> Result<()> {
        self.bury(Scope::Connection);
        let channel = self.channel.close().await;
        self.transport.close().await.and(channel)
    }
}
