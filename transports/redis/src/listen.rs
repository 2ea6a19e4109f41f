//! Broadcast messages: subscriptions on a socket of their own.

use std::sync::Arc;

use kombu_core::hub::Hub;
use redis::Value;

use crate::connection::Link;
use crate::consumer::Consumer;
use crate::session::Session;
use crate::unacked::Held;

/// The socket that listens, and for whom.
#[derive(Default)]
pub(crate) struct Listener {
    link: Option<Arc<Link>>,
}

impl Listener {
    pub(crate) fn link(&self) -> Option<&Arc<Link>> {
        self.link.as_ref()
    }
    pub(crate) fn add(&mut self, _session: &Session, _consumer: &Arc<Consumer>) {}
    pub(crate) fn discard(&mut self, _consumer: &Arc<Consumer>) {}
    pub(crate) fn serves(&self, _channel: u64) -> bool {
        false
    }
    pub(crate) fn consumers_of(&self, _queue: &str) -> Vec<Arc<Consumer>> {
        Vec::new()
    }
    pub(crate) fn subscribe(&mut self, _session: &Arc<Session>, _hub: &dyn Hub) -> Option<(Arc<Link>, Vec<u64>)> {
        None
    }
    pub(crate) fn handle_up(&mut self, _session: &Arc<Session>) {}
    pub(crate) fn handle_down(&mut self) {}
}

impl Session {
    pub(crate) fn on_readable(self: &Arc<Self>, _hub: &dyn Hub, _value: Value) {}
    pub(crate) fn return_local(&self, _taken: Vec<Held>) {}
}
