//! Connections and channels, and how an answer is waited for.

use std::future::Future;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use kombu_core::{Channel, FieldTable, Result, SystemClock, Transport, TransportConfig, registry};
use kombu_hub::MioHub;

pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

pub(crate) fn connect(hub: &Rc<MioHub>, url: &str) -> Arc<dyn Transport> {
    let entry = registry::find(url.split(':').next().unwrap()).unwrap();
    let config = TransportConfig {
        url: url.parse().unwrap(),
        alternates: Vec::new(),
        options: FieldTable::new(),
        clock: Arc::new(SystemClock),
    };
    let transport = (entry.make)(config).unwrap();
    transport.register_with_event_loop(hub.io()).unwrap();
    let connecting = Arc::clone(&transport);
    wait(hub, async move { connecting.connect().await }).unwrap();
    transport
}

/// A channel on a connection of its own.
pub(crate) fn counter(hub: &Rc<MioHub>, url: &str) -> (Arc<dyn Transport>, Arc<dyn Channel>) {
    let transport = connect(hub, url);
    let channel = open(hub, &transport).unwrap();
    (transport, channel)
}

pub(crate) fn open(hub: &Rc<MioHub>, transport: &Arc<dyn Transport>) -> Result<Arc<dyn Channel>> {
    let transport = Arc::clone(transport);
    wait(hub, async move { transport.channel().await })
}

/// Drives `future` as core drives what it asks of a transport.
pub(crate) fn wait<T: Send + 'static>(hub: &MioHub, future: impl Future<Output = T> + Send + 'static) -> T {
    let reply = hub.io().handle().spawn(future);
    let end = hub.call_later(PATIENCE * 3, |_| panic!("no answer"));
    let value = hub.block_on(reply).unwrap().expect("the task was not dropped");
    end.cancel();
    value
}
