//! Everything the broker knows, behind its one mutex.
//!
//! One file for each thing it does: [`exchanges`](self::exchanges) and [`topology`](self::topology) declare and bind,
//! [`resolve`](self::resolve) routes, [`publish`](self::publish) and [`enqueue`](self::enqueue) store, [`dispatch`](self::dispatch)
//! hands messages to consumers, [`consume`](self::consume) starts and ends those, [`settle`](self::settle) ends deliveries,
//! [`dead_letter`](self::dead_letter) sends on what died, [`expiry`](self::expiry) and [`delay`](self::delay) look at the time,
//! [`close`](self::close) ends channels and connections.

mod close;
mod consume;
mod dead_letter;
mod delay;
mod dispatch;
mod enqueue;
mod exchanges;
mod expiry;
mod publish;
mod resolve;
mod settle;
mod topology;

use std::collections::VecDeque;
use std::sync::{Arc, OnceLock};

use kombu_core::{ChannelEvents, Clock, DeliveryTag, Error, ErrorKind, ExchangeKind, Result, ShortStr};

use self::dead_letter::Dead;
use self::delay::Delayed;
pub(crate) use self::settle::Verdict;
use crate::afterwards::Afterwards;
use crate::alarm::Alarms;
use crate::channel_record::{ChannelKey, ChannelRecord, ChannelSlot};
use crate::connection::ConnectionKey;
use crate::consumer::{Consumer, ConsumerKey, ConsumerSlot};
use crate::definition::ExchangeDefinition;
use crate::exchange::{Exchange, ExchangeKey, ExchangeSlot};
use crate::map::Map;
use crate::moment::Moment;
use crate::put_off::PutOff;
use crate::queue::{Queue, QueueKey, QueueSlot};
use crate::refusal;
use crate::route::RouteCache;
use crate::slots::Slots;
use crate::store::QueueStore;
use crate::unacked::Unsettled;

/// The broker's state. Its methods are called with the mutex held and run no code of the application: what would goes into
/// [`Afterwards`](crate::afterwards::Afterwards).
pub(crate) struct State<S: QueueStore> {
    pub(crate) store: S,
    clock: Arc<dyn Clock>,
    exchanges: Slots<ExchangeSlot, Exchange>,
    exchange_names: Map<ShortStr, ExchangeKey>,
    queues: Slots<QueueSlot, Queue<S::Queue>>,
    queue_names: Map<ShortStr, QueueKey>,
    channels: Slots<ChannelSlot, ChannelRecord>,
    consumers: Slots<ConsumerSlot, Consumer>,
    routes: RouteCache,
    /// The delayed exchanges on the route found last, which hold the message back.
    delays: Vec<ExchangeKey>,
    delayed: Map<ExchangeKey, Delayed<S::Queue>>,
    alarms: Alarms,
    /// Messages that died and are to be sent on before the mutex is released.
    dead: VecDeque<Dead>,
    /// Something is to be done before the mutex is released: there are dead messages, or another first alarm.
    pub(crate) has_chores: bool,
    malformed_limit: usize,
    /// Why the broker ended a connection, by connection.
    fates: Map<ConnectionKey, Arc<OnceLock<Error>>>,
    connections: u64,
    /// Buffers for settling many deliveries at once.
    taken: Vec<Unsettled>,
    touched: Vec<QueueKey>,
    acknowledged: Vec<DeliveryTag>,
    full: Vec<ConsumerKey>,
}

impl<S: QueueStore> State<S> {
    pub(crate) fn new(store: S, clock: Arc<dyn Clock>, malformed_limit: usize) -> Self {
        let mut state = State {
            store,
            clock,
            exchanges: Slots::default(),
            exchange_names: Map::default(),
            queues: Slots::default(),
            queue_names: Map::default(),
            channels: Slots::default(),
            consumers: Slots::default(),
            routes: RouteCache::new(),
            delays: Vec::new(),
            delayed: Map::default(),
            alarms: Alarms::default(),
            dead: VecDeque::new(),
            has_chores: false,
            malformed_limit,
            fates: Map::default(),
            connections: 0,
            taken: Vec::new(),
            touched: Vec::new(),
            acknowledged: Vec::new(),
            full: Vec::new(),
        };
        let built_in = [
            ("amq.direct", ExchangeKind::Direct),
            ("amq.fanout", ExchangeKind::Fanout),
            ("amq.topic", ExchangeKind::Topic),
            ("amq.headers", ExchangeKind::Headers),
            ("amq.match", ExchangeKind::Headers),
        ];
        for (name, kind) in built_in {
            let name = ShortStr::from_static(name);
            if let Ok(exchange) = Exchange::new(name.clone(), ExchangeDefinition::built_in(kind)) {
                let key = state.exchanges.insert(exchange);
                state.exchange_names.insert(name, key);
            }
        }
        state
    }

    /// Returns a name for a new connection; `fate` will say why the broker ended it.
    pub(crate) fn open_connection(&mut self, fate: Arc<OnceLock<Error>>) -> ConnectionKey {
        self.connections += 1;
        let key = ConnectionKey(self.connections);
        self.fates.insert(key, fate);
        key
    }

    pub(crate) fn now(&self) -> Moment {
        Moment::of(self.clock.system_time())
    }

    /// Returns when the first alarm rings.
    pub(crate) fn next_alarm(&self) -> Option<Moment> {
        self.alarms.first()
    }

    /// Does what must be done before the mutex is released, and returns when the first alarm rings.
    #[cold]
    pub(crate) fn do_chores(&mut self, after: &mut Afterwards) -> Option<Moment> {
        while let Some(dead) = self.dead.pop_front() {
            self.send_on(dead, after);
        }
        self.has_chores = false;
        self.alarms.first()
    }

    /// Opens a channel; `fate` will say why the broker closed it, and `put_off` holds acknowledgements to be carried out.
    pub(crate) fn open_channel(
        &mut self,
        connection: ConnectionKey,
        fate: Arc<OnceLock<Error>>,
        put_off: Arc<PutOff>,
    ) -> ChannelKey {
        self.channels.insert(ChannelRecord::new(connection, fate, put_off))
    }

    /// Says whether a channel is open.
    #[inline]
    pub(crate) fn has_channel(&self, channel: ChannelKey) -> bool {
        self.channels.get(channel).is_some()
    }

    /// Names the observer of a channel and returns the one before; an observer of a closed channel is returned itself.
    pub(crate) fn observe(
        &mut self,
        channel: ChannelKey,
        events: Arc<dyn ChannelEvents>,
    ) -> Option<Arc<dyn ChannelEvents>> {
        match self.channels.get_mut(channel) {
            Some(channel) => channel.events.replace(events),
            None => Some(events),
        }
    }

    fn channel(&mut self, channel: ChannelKey) -> Result<&mut ChannelRecord> {
        self.channels.get_mut(channel).ok_or_else(|| refusal::gone(ErrorKind::Closed, None))
    }

    pub(crate) fn events(&self, channel: ChannelKey) -> Option<Arc<dyn ChannelEvents>> {
        self.channels.get(channel)?.events.clone()
    }

    /// Finds a queue; one that the store holds from elsewhere is opened.
    fn find_queue(&mut self, name: &ShortStr) -> Result<Option<QueueKey>> {
        if let Some(key) = self.queue_names.get(name) {
            return Ok(Some(*key));
        }
        if !self.store.exists(name)? {
            return Ok(None);
        }
        let stored = self.store.create(name, &crate::definition::QueueDefinition::of_stored())?;
        let mut queue = Queue::new(name.clone(), None, None, stored);
        // What it holds may have a time.
        (queue.is_plain, queue.may_expire) = (false, true);
        Ok(Some(self.add_queue(queue)))
    }

    /// Finds a queue that must exist and may be used by the connection of `channel`.
    fn usable_queue(&mut self, channel: ChannelKey, name: &ShortStr) -> Result<QueueKey> {
        let key = self.find_queue(name)?.ok_or_else(|| refusal::not_found("queue", name))?;
        self.check_owner(channel, key)?;
        Ok(key)
    }

    fn check_owner(&mut self, channel: ChannelKey, queue: QueueKey) -> Result<()> {
        let connection = self.channel(channel)?.connection;
        match self.queues.get(queue) {
            Some(queue) if queue.owner.is_some_and(|owner| owner != connection) => Err(refusal::locked(&queue.name)),
            _ => Ok(()),
        }
    }

    fn add_queue(&mut self, queue: Queue<S::Queue>) -> QueueKey {
        let name = queue.name.clone();
        let key = self.queues.insert(queue);
        self.queue_names.insert(name, key);
        self.routes.clear();
        key
    }
}
