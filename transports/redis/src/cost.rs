//! What a message costs must not depend on how many queues and channels there are: counted in commands and in looks at queues,
//! which no busy machine changes.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bytes::Bytes;
use kombu_brokers::{PATIENCE, RedisServer, eventually};
use kombu_core::delivery::{Delivery, DeliverySink};
use kombu_core::hub::{HubFactory, HubHandle};
use kombu_core::method::{BasicConsume, BasicPublish};
use kombu_core::reply::{self, Reply};
use kombu_core::{Channel, Envelope, Error, FieldTable, Headers, Properties, SystemClock, TransportConfig};
use kombu_hub::HubThreads;

use crate::channel::RedisChannel;
use crate::connection::Target;
use crate::options::RedisOptions;
use crate::session::Session;

/// A session with consumers, each on a channel and, for the most part, a queue of its own.
struct Rig {
    server: RedisServer,
    handle: HubHandle,
    session: Arc<Session>,
    publisher: Arc<RedisChannel>,
    received: Arc<AtomicUsize>,
    channels: Vec<Arc<RedisChannel>>,
}

/// Acknowledges at once.
struct Acking {
    channel: Arc<RedisChannel>,
    received: Arc<AtomicUsize>,
}

impl DeliverySink for Acking {
    fn deliver(&self, delivery: Delivery) {
        drop(self.channel.basic_ack(delivery.tag, false));
        self.received.fetch_add(1, Ordering::SeqCst);
    }

    fn cancelled(&self, _reason: Error) {}
}

/// Acknowledges at once, and notes of each delivery whether a claim was under way.
struct Watching {
    acking: Acking,
    session: Arc<Session>,
    was_taking: Mutex<Vec<bool>>,
}

impl DeliverySink for Watching {
    fn deliver(&self, delivery: Delivery) {
        self.was_taking.lock().unwrap().push(self.session.poller().is_taking());
        self.acking.deliver(delivery);
    }

    fn cancelled(&self, _reason: Error) {}
}

impl Rig {
    /// Connects, without consumers.
    fn connected() -> Self {
        let server = RedisServer::start();
        let config = TransportConfig {
            url: server.url().parse().unwrap(),
            alternates: Vec::new(),
            options: FieldTable::new(),
            clock: Arc::new(SystemClock),
        };
        let options = RedisOptions::new(&config).unwrap();
        let target = Target::new(&options, &config.url).unwrap();
        let handle = HubThreads.dedicated("test-hub").unwrap().io();
        let (sender, made) = reply::channel();
        handle.call_soon(move |hub| {
            let session = Session::new(options, target, config.clock, hub.io());
            let opened = session.command.open(hub);
            sender.send((session, opened));
        });
        let (session, opened) = wait(made);
        wait(opened).unwrap();
        let publisher = Arc::new(RedisChannel::new(session.open_channel()));
        Rig { server, handle, session, publisher, received: Arc::default(), channels: Vec::new() }
    }

    /// Makes `channels` consumers on `queues` queues, and waits until all are idle.
    fn new(queues: usize, channels: usize) -> Self {
        let mut rig = Rig::connected();
        for number in 0..channels {
            let acking = rig.acking();
            rig.channels.push(Arc::clone(&acking.channel));
            rig.consume(number % queues, Arc::new(acking));
        }
        // Each queue is woken once, so that it is known to be empty and waited for.
        (0..queues).for_each(|queue| rig.publish(queue));
        rig.settle(queues);
        rig
    }

    /// Returns a sink on a channel of its own.
    fn acking(&self) -> Acking {
        let channel = Arc::new(RedisChannel::new(self.session.open_channel()));
        Acking { channel, received: Arc::clone(&self.received) }
    }

    /// Consumes a queue on the channel that was opened last.
    fn consume(&self, queue: usize, sink: Arc<dyn DeliverySink>) {
        let method = BasicConsume { queue: name(queue), ..BasicConsume::default() };
        let channel = Arc::clone(&self.channels[self.channels.len() - 1]);
        wait(self.handle.spawn(async move { channel.basic_consume(method, sink).await })).unwrap();
    }

    fn publish(&self, queue: usize) {
        let mut properties = Properties::default();
        properties.set_content(Some("text/plain".into()), Some("utf-8".into()));
        let envelope = Envelope {
            exchange: "".into(),
            routing_key: name(queue),
            properties,
            headers: Headers::empty(),
            body: Bytes::from_static(b"a body"),
        };
        drop(self.publisher.basic_publish(BasicPublish::default(), Arc::new(envelope)));
    }

    /// Waits until `count` messages in all have come and are forgotten, and nothing happens any more.
    fn settle(&self, count: usize) {
        assert!(eventually(PATIENCE * 3, || self.received.load(Ordering::SeqCst) >= count), "messages are missing");
        assert!(eventually(PATIENCE, || self.server.command(&["HLEN", "unacked"]).int() == 0));
        let mut last = self.commands();
        let is_quiet = || {
            std::thread::sleep(Duration::from_millis(20));
            let now = self.commands();
            std::mem::replace(&mut last, now) == now
        };
        assert!(eventually(PATIENCE, is_quiet));
    }

    /// Counts the commands the server has got from us, not those that scripts call.
    fn commands(&self) -> u64 {
        const OURS: [&str; 6] = ["evalsha", "blmove", "client|caching", "client|unblock", "exists", "lpush"];
        let stats = self.server.command(&["INFO", "commandstats"]);
        let count = |line: &str| {
            let (name, rest) = line.strip_prefix("cmdstat_")?.split_once(":calls=")?;
            OURS.contains(&name).then(|| rest.split(',').next()?.parse::<u64>().ok())?
        };
        stats.text().lines().filter_map(count).sum()
    }

    fn looks(&self) -> u64 {
        let session = Arc::clone(&self.session);
        let (sender, looks) = reply::channel();
        self.handle.call_soon(move |_| sender.send(session.poller().looks()));
        wait(looks)
    }

    /// Sends messages one after the other to one queue; returns commands and looks of each, as tenths.
    fn one_by_one(&self, queue: usize, count: usize) -> (u64, u64) {
        let (commands, looks) = (self.commands(), self.looks());
        let mut before = self.received.load(Ordering::SeqCst);
        for _ in 0..count {
            self.publish(queue);
            before += 1;
            assert!(eventually(PATIENCE, || self.received.load(Ordering::SeqCst) >= before));
        }
        let (commands, looks) = (self.commands() - commands, self.looks() - looks);
        self.settle(before);
        (commands * 10 / count as u64, looks * 10 / count as u64)
    }

    /// Sends messages to every queue in turn, all at once; returns commands and looks of each, as tenths.
    fn spread(&self, queues: usize, count: usize) -> (u64, u64) {
        let (commands, looks) = (self.commands(), self.looks());
        let before = self.received.load(Ordering::SeqCst);
        (0..count).for_each(|number| self.publish(number % queues));
        assert!(eventually(PATIENCE * 3, || self.received.load(Ordering::SeqCst) >= before + count));
        let (commands, looks) = (self.commands() - commands, self.looks() - looks);
        self.settle(before + count);
        (commands * 10 / count as u64, looks * 10 / count as u64)
    }
}

impl Drop for Rig {
    fn drop(&mut self) {
        let session = Arc::clone(&self.session);
        let (sender, left) = reply::channel();
        self.handle.call_soon(move |hub| {
            session.leave(hub);
            sender.send(());
        });
        wait(left);
        self.handle.stop();
    }
}

fn name(queue: usize) -> kombu_core::ShortStr {
    format!("queue{queue}").into()
}

fn wait<T>(mut reply: Reply<T>) -> T {
    let waker = std::task::Waker::from(Arc::new(Unpark(std::thread::current())));
    let mut cx = std::task::Context::from_waker(&waker);
    let start = Instant::now();
    loop {
        if let std::task::Poll::Ready(value) = std::pin::Pin::new(&mut reply).poll(&mut cx) {
            return value.unwrap();
        }
        assert!(start.elapsed() < Duration::from_secs(60), "no answer for a minute");
        std::thread::park_timeout(Duration::from_secs(1));
    }
}

struct Unpark(std::thread::Thread);

impl std::task::Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

#[test]
fn a_message_costs_the_same_with_one_queue_and_with_a_thousand() {
    let (one, many) = (Rig::new(1, 1), Rig::new(1000, 1000));
    let (commands, looks) = one.one_by_one(0, 50);
    // One that a socket of its own waits for, and one that the server watches.
    for queue in [0, 500] {
        let (with_many, looks_with_many) = many.one_by_one(queue, 50);
        // The watched one is asked for again by two commands where the other needs one, and looked at with them.
        assert!(
            with_many <= commands + 20,
            "queue {queue}: {with_many} tenths of a command, {commands} with one queue"
        );
        assert!(looks_with_many <= looks + 20, "queue {queue}: {looks_with_many} tenths of a look, {looks} with one");
    }
    let (commands, looks) = one.spread(1, 3000);
    let (with_many, looks_with_many) = many.spread(1000, 3000);
    // A claim names sixteen queues at most, so a thousand with three messages each take more claims than one with them all.
    assert!(with_many <= commands + 10, "{with_many} tenths of a command, {commands} with one queue");
    assert!(looks_with_many <= looks + 20, "{looks_with_many} tenths of a look, {looks} with one");
}

#[test]
fn a_message_costs_the_same_with_one_channel_and_with_two_hundred() {
    let (one, many) = (Rig::new(1, 1), Rig::new(1, 200));
    let ((commands, looks), (with_many, looks_with_many)) = (one.one_by_one(0, 50), many.one_by_one(0, 50));
    assert!(with_many <= commands + 5, "{with_many} tenths of a command, {commands} with one channel");
    assert!(looks_with_many <= looks + 10, "{looks_with_many} tenths of a look, {looks} with one");
    let ((commands, looks), (with_many, looks_with_many)) = (one.spread(1, 3000), many.spread(1, 3000));
    assert!(with_many <= commands + 5, "{with_many} tenths of a command, {commands} with one channel");
    assert!(looks_with_many <= looks + 10, "{looks_with_many} tenths of a look, {looks} with one");
}

#[test]
fn while_messages_are_handed_over_the_server_is_asked_for_the_next() {
    const COUNT: usize = 2000;
    let mut rig = Rig::connected();
    (0..COUNT).for_each(|_| rig.publish(0));
    assert!(eventually(PATIENCE, || rig.server.command(&["LLEN", "queue0"]).int() == COUNT as i64));
    let acking = rig.acking();
    rig.channels.push(Arc::clone(&acking.channel));
    let sink = Arc::new(Watching { acking, session: Arc::clone(&rig.session), was_taking: Mutex::default() });
    rig.consume(0, Arc::clone(&sink) as Arc<dyn DeliverySink>);
    rig.settle(COUNT);
    let was_taking = std::mem::take(&mut *sink.was_taking.lock().unwrap());
    let last = was_taking.iter().rposition(|was_taking| *was_taking).map_or(0, |last| last + 1);
    assert!(
        was_taking[..last].iter().all(|was_taking| *was_taking),
        "each but the last claim brought what it was to take"
    );
    assert!(COUNT - last < 128, "{} came without a claim under way", COUNT - last);
}

/// Not a check: `cargo test --release -p kombu-redis --lib cost -- --ignored --nocapture`.
#[test]
#[ignore = "prints figures; run it alone, in release"]
fn figures() {
    for (queues, channels) in [(1, 1), (32, 32), (100, 100), (1000, 1000), (1, 200)] {
        let rig = Rig::new(queues, channels);
        let cpu = || {
            let usage = std::fs::read_to_string("/proc/self/stat").unwrap();
            let fields: Vec<&str> = usage.rsplit(')').next().unwrap().split_whitespace().collect();
            (fields[11].parse::<f64>().unwrap() + fields[12].parse::<f64>().unwrap()) * 10_000.0
        };
        let begin = cpu();
        let spread = rig.spread(queues, 60_000);
        let flood = (cpu() - begin) / 60_000.0;
        let begin = cpu();
        let single = rig.one_by_one(queues / 2, 2000);
        let alone = (cpu() - begin) / 2000.0;
        println!(
            "{queues} queues, {channels} channels: {flood:.2} µs and {spread:?} in a flood, {alone:.1} µs and {single:?} one by one"
        );
    }
}
