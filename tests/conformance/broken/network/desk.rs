//! Where other processes ask a broker of this one for messages.

use std::io::{ErrorKind as IoErrorKind, Read, Write};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixListener, UnixStream};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use kombu_core::hub::Hub;
use kombu_core::method::{BasicConsume, BasicPublish};
use kombu_core::{
    Channel, Clock, Delivery, DeliverySink, Envelope, Error, FieldTable, Qos, ShortStr, Transport, TransportConfig,
};

use super::memory;
use crate::fault::Fault;
use crate::inside::now;
use crate::world::lock;

/// Those checks start processes of their own.
const CHECKS: [&str; 2] = ["killed_consumer_loses_nothing", "two_processes_share_no_identity"];

/// So long after a process was killed its messages are back at the latest.
pub(crate) const LEASE: Duration = Duration::from_secs(2);

/// Takes guests, other processes, whenever the hub of a connection ticks: whoever was killed is seen to be gone in the next tick.
pub(crate) struct Desk {
    name: String,
    fault: Fault,
    listener: UnixListener,
    guests: Mutex<Vec<Guest>>,
    last_gone: Mutex<Option<Instant>>,
}

/// Another process that consumes.
struct Guest {
    stream: UnixStream,
    heard: Vec<u8>,
    consumer: Option<Consumer>,
    is_gone: bool,
}

/// What consumes on its behalf.
struct Consumer {
    transport: Arc<dyn Transport>,
    channel: Arc<dyn Channel>,
    queue: ShortStr,
    held: Arc<Mutex<Vec<Delivery>>>,
}

/// Returns the address of the desk of broker `name` in process `id`.
pub(super) fn address(id: u32, name: &str) -> std::io::Result<SocketAddr> {
    SocketAddr::from_abstract_name(format!("kombu-broken-{id}-{name}"))
}

impl Desk {
    /// Opens the desk of broker `name`, if it is that of a check which starts processes.
    pub(super) fn for_check(name: &str, fault: Fault) -> Option<Self> {
        if !CHECKS.iter().any(|check| name.ends_with(check)) {
            return None;
        }
        let listener = UnixListener::bind_addr(&address(std::process::id(), name).unwrap()).unwrap();
        listener.set_nonblocking(true).unwrap();
        let (guests, last_gone) = (Mutex::default(), Mutex::default());
        Some(Desk { name: name.to_owned(), fault, listener, guests, last_gone })
    }

    /// Does what the guests asked for since the last tick.
    pub(crate) fn serve(&self, hub: &dyn Hub, clock: &Arc<dyn Clock>) {
        let mut guests = lock(&self.guests);
        while let Ok((stream, _)) = self.listener.accept() {
            stream.set_nonblocking(true).unwrap();
            guests.push(Guest { stream, heard: Vec::new(), consumer: None, is_gone: false });
        }
        for guest in &mut *guests {
            if let Some(order) = guest.listen() {
                guest.consumer = Some(self.consume(&order, guest.stream.try_clone().unwrap(), hub, clock));
            }
        }
        let (gone, mut stay): (Vec<_>, Vec<_>) =
            std::mem::take(&mut *guests).into_iter().partition(|guest| guest.is_gone);
        if !gone.is_empty() {
            *lock(&self.last_gone) = Some(clock.now());
        }
        let is_over = lock(&self.last_gone).is_some_and(|at| clock.now() >= at + LEASE);
        match self.fault {
            Fault::OneIdentityForAll if !gone.is_empty() => stay.drain(..).for_each(Guest::leave),
            Fault::LivingLoseTheirs if is_over => stay.drain(..).for_each(Guest::leave),
            _ => {}
        }
        *guests = stay;
        drop(guests);
        gone.into_iter().for_each(|guest| match self.fault {
            Fault::KilledNeverGone => std::mem::forget(guest),
            Fault::KilledLosesHeld => guest.settle_held(|consumer, delivery| {
                drop(consumer.channel.basic_ack(delivery.tag, false));
            }),
            Fault::KilledForgetsFlags => guest.settle_held(|consumer, delivery| {
                drop(consumer.channel.basic_ack(delivery.tag, false));
                let again = Envelope { routing_key: consumer.queue.clone(), ..(*delivery.envelope).clone() };
                drop(consumer.channel.basic_publish(BasicPublish::default(), Arc::new(again)));
            }),
            _ => guest.leave(),
        });
    }

    fn consume(&self, order: &str, stream: UnixStream, hub: &dyn Hub, clock: &Arc<dyn Clock>) -> Consumer {
        let (window, queue) = order.split_once(' ').unwrap();
        let config = TransportConfig {
            url: "memory://".parse().unwrap(),
            alternates: Vec::new(),
            options: FieldTable::new(),
            clock: Arc::clone(clock),
        };
        let transport = memory(&self.name, config).unwrap();
        transport.register_with_event_loop(hub).unwrap();
        now(transport.connect()).unwrap();
        let channel = now(transport.channel()).unwrap();
        let held = Arc::new(Mutex::default());
        let sink = Arc::new(Passed { stream, held: Arc::clone(&held) });
        now(channel.basic_qos(Qos { prefetch_count: window.parse().unwrap(), global: false })).unwrap();
        let method = BasicConsume { queue: queue.into(), ..BasicConsume::default() };
        now(channel.basic_consume(method, sink)).unwrap();
        Consumer { transport, channel, queue: queue.into(), held }
    }
}

impl Guest {
    /// Returns what the guest asked for, as soon as it did.
    fn listen(&mut self) -> Option<String> {
        let mut part = [0; 256];
        loop {
            match self.stream.read(&mut part) {
                Ok(0) => self.is_gone = true,
                Ok(count) => {
                    self.heard.extend_from_slice(&part[..count]);
                    continue;
                }
                Err(error) if error.kind() == IoErrorKind::WouldBlock => {}
                Err(_) => self.is_gone = true,
            }
            break;
        }
        let end = self.heard.iter().position(|byte| *byte == b'\n')?;
        let line: Vec<u8> = self.heard.drain(..=end).collect();
        Some(String::from_utf8_lossy(&line).trim_end().to_owned())
    }

    /// Gives back what it held.
    fn leave(self) {
        if let Some(consumer) = self.consumer {
            drop(now(consumer.transport.close()));
        }
    }

    fn settle_held(self, act: impl Fn(&Consumer, &Delivery)) {
        if let Some(consumer) = &self.consumer {
            // Nothing more may come for what is settled.
            drop(now(consumer.channel.basic_qos(Qos { prefetch_count: 1, global: true })));
            let held = std::mem::take(&mut *lock(&consumer.held));
            held.iter().for_each(|delivery| act(consumer, delivery));
        }
        self.leave();
    }
}

/// Passes deliveries on to a guest.
struct Passed {
    stream: UnixStream,
    held: Arc<Mutex<Vec<Delivery>>>,
}

impl DeliverySink for Passed {
    fn deliver(&self, delivery: Delivery) {
        lock(&self.held).push(delivery);
        // One that was killed is not told any more.
        let _ = (&self.stream).write_all(b"delivery\n");
    }

    fn cancelled(&self, _reason: Error) {}
}
