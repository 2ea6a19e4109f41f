//! A program on RabbitMQ goes on, with all it had, whatever happens to its broker or the way there.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test that cannot go on stops")]

use std::cell::Cell;
use std::collections::BTreeSet;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use kombu::prelude::*;
use kombu::{Confirmed, ConnectionEvent};
use kombu_brokers::{Direction, FaultProxy, PATIENCE, RabbitServer, eventually};

/// How long an operation may take in whose way a broker comes that starts anew.
const LONG: Duration = Duration::from_secs(120);

/// How many publishes are under way when something happens.
const UNDER_WAY: usize = 200;

#[test]
fn everything_comes_back_whatever_happens() {
    let mut server = RabbitServer::start();
    let proxies = [FaultProxy::start(server.addr()), FaultProxy::start(server.addr())];
    let urls = proxies.each_ref().map(|proxy| format!("{}?heartbeat=3", server.url_at(proxy.addr())));
    let program = Program::start(&urls.join(";"));
    let way = || proxies.iter().find(|proxy| program.connection.url().port() == Some(proxy.port())).unwrap();
    program.works(&server, "at first");

    program.survives(&server, "closed by the operator", || server.close_all_connections("maintenance"));
    program.survives(&server, "on another way, for the first is closed", || {
        way().refuse();
        way().cut();
    });
    proxies.iter().for_each(FaultProxy::pass);
    let has_all_twice = Cell::new(false);
    program.survives(&server, "half open", || {
        let (way, before) = (way(), program.losses());
        // The broker gets what is published, its answers get lost; nobody hears that, but for the heartbeats that are missing.
        way.blackhole(Direction::ToClient);
        let producer = program.connection.producer().with_routing_key("kept");
        let pending: Vec<_> = (0..20).map(|number| producer.publish(number.to_string()).timeout(LONG).send()).collect();
        wait_for("the broker has them", || count(&server, "kept", "messages") >= 20);
        // On a machine that stands still they may all be those that were published again.
        has_all_twice.set(program.losses() == before);
        wait_for("it is found out", || program.losses() > before);
        way.pass();
        pending.into_iter().for_each(|pending| _ = pending.wait().unwrap());
    });
    program.finds_repeats_marked(has_all_twice.get());
    program.survives(&server, "with the application stopped and started in a living node", || {
        server.stop_app();
        server.start_app();
    });
    // A node that is killed may forget that it delivered something: what comes twice says so no longer.
    let under_way = program.publish("killed");
    server.kill();
    server.restart();
    program.has_all(under_way, "killed");
    program.works(&server, "after the kill");
}

/// A program that consumes, in several ways, and publishes.
struct Program {
    connection: Connection,
    events: Exchange,
    notices: Exchange,
    /// What came by a direct exchange, by a queue the broker named, and what is held of queue `window`.
    came: Came,
    noticed: Came,
    held: Arc<Mutex<Vec<Message>>>,
    losses: Arc<AtomicUsize>,
    _consumers: [Consumer; 3],
}

impl Program {
    fn start(urls: &str) -> Self {
        let connection = Connection::new(urls).unwrap();
        let losses = Arc::new(AtomicUsize::new(0));
        let counting = Arc::clone(&losses);
        connection.on_event(move |event| {
            if let ConnectionEvent::Disconnected(_) = event {
                counting.fetch_add(1, Ordering::SeqCst);
            }
        });
        let (events, notices) = (Exchange::direct("events"), Exchange::fanout("notices"));
        let (came, noticed, held) = (Came::default(), Came::default(), Arc::new(Mutex::new(Vec::new())));
        let consume = |queue: Queue, came: &Came| {
            let came = came.clone();
            let consumer = connection.consumer(&queue).on_message(move |message| came.take(message));
            consumer.consume().wait().unwrap()
        };
        let named = Queue::new("").exclusive().bind(&notices, "").declare(&connection).wait().unwrap().queue;
        let (window, holding) = (Queue::new("window"), Arc::clone(&held));
        let holder = connection.consumer(&window).prefetch(2);
        let consumers = [
            consume(Queue::new("events").bind(&events, "k"), &came),
            consume(Queue::new(named), &noticed),
            holder.on_message(move |message| holding.lock().unwrap().push(message)).consume().wait().unwrap(),
        ];
        Queue::new("kept").declare(&connection).wait().unwrap();
        Program { connection, events, notices, came, noticed, held, losses, _consumers: consumers }
    }

    fn losses(&self) -> usize {
        self.losses.load(Ordering::SeqCst)
    }

    /// Does `harm` while publishes are under way; afterwards they have come, what came twice says so, and everything works.
    fn survives(&self, server: &RabbitServer, what: &str, harm: impl FnOnce()) {
        let before = self.losses();
        let under_way = self.publish(what);
        harm();
        wait_for(what, || self.losses() > before);
        self.has_all(under_way, what);
        assert_eq!(self.came.unmarked_repeats(), BTreeSet::new(), "{what}");
        self.works(server, &format!("{what}, afterwards"));
    }

    fn publish(&self, what: &str) -> Vec<Pending<Confirmed>> {
        let producer = self.connection.producer().with_exchange(&self.events).with_routing_key("k");
        (0..UNDER_WAY).map(|number| producer.publish(format!("{what} {number}")).timeout(LONG).send()).collect()
    }

    /// Every publish is confirmed, and has come.
    fn has_all(&self, under_way: Vec<Pending<Confirmed>>, what: &str) {
        under_way.into_iter().for_each(|pending| _ = pending.wait().unwrap_or_else(|error| panic!("{what}: {error}")));
        let missing = || (0..UNDER_WAY).find(|number| !self.came.has(&format!("{what} {number}")));
        wait_for(what, || missing().is_none());
    }

    /// Bindings, queues, consumers and windows are there.
    fn works(&self, server: &RabbitServer, what: &str) {
        let producer = self.connection.producer();
        let publish = |exchange: Option<&Exchange>, key: &str, body: &str| {
            let publish = producer.publish(body.to_owned()).routing_key(key).timeout(LONG);
            let published = match exchange {
                Some(exchange) => publish.exchange(exchange).wait(),
                None => publish.wait(),
            };
            published.unwrap_or_else(|error| panic!("{what}: {error}"));
        };
        publish(Some(&self.events), "k", what);
        wait_for(what, || self.came.has(what));
        loop {
            let before = self.losses();
            publish(Some(&self.notices), "", what);
            if eventually(PATIENCE, || self.noticed.has(what)) {
                break;
            }
            // The queue goes with its connection, and with it what it holds.
            assert!(self.losses() > before, "{what}: the queue without a name is not back");
        }
        // The broker has noticed what happened as well: no consumer of a dead connection is left.
        wait_for(what, || count(server, "window", "consumers") == 1 && server.connections() == 2);
        let empty = || {
            let held = std::mem::take(&mut *self.held.lock().unwrap());
            held.into_iter().for_each(|message| _ = message.ack());
            count(server, "window", "messages") == 0
        };
        // A node that was killed may have forgotten acks.
        wait_for(what, &empty);
        (0..5).for_each(|number| publish(None, "window", &format!("{what} {number}")));
        wait_for(what, || count(server, "window", "messages_ready") == 3);
        wait_for(what, &empty);
    }

    /// What was published into the queue `kept` is there, with a mark if it is there twice, as everything is that is said to be.
    fn finds_repeats_marked(&self, is_twice: bool) {
        let (mut first, mut again) = (BTreeSet::new(), BTreeSet::new());
        while let Some(message) = Queue::new("kept").get(&self.connection).wait().unwrap() {
            let number: usize = message.text().unwrap().parse().unwrap();
            let is_marked = message.headers().get("x-republished").is_some();
            let is_new = if is_marked { again.insert(number) } else { first.insert(number) };
            assert!(is_new || is_marked, "{number} came twice without a mark");
            message.ack();
        }
        let all: BTreeSet<usize> = (0..20).collect();
        assert!(first.union(&again).eq(&all), "{first:?} {again:?}");
        assert!(!is_twice || (first == all && again == all), "{first:?} {again:?}");
    }
}

/// What came, and whether it said that it may have come before.
#[derive(Clone, Default)]
struct Came(Arc<Mutex<Vec<(String, bool)>>>);

impl Came {
    fn take(&self, message: Message) {
        let body = (message.text().unwrap().to_owned(), message.maybe_duplicate());
        self.0.lock().unwrap().push(body);
        message.ack();
    }

    fn has(&self, body: &str) -> bool {
        self.0.lock().unwrap().iter().any(|(came, _)| came == body)
    }

    fn unmarked_repeats(&self) -> BTreeSet<String> {
        let mut seen = BTreeSet::new();
        let came = self.0.lock().unwrap();
        let unmarked = came.iter().filter(|(_, is_marked)| !is_marked);
        unmarked.filter(|(body, _)| !seen.insert(body)).map(|(body, _)| body.clone()).collect()
    }
}

/// Returns a count of the broker's of one queue.
fn count(server: &RabbitServer, queue: &str, item: &str) -> usize {
    let name = format!("rabbit_misc:r(<<\"/\">>, queue, <<\"{queue}\">>)");
    let info = format!("rabbit_amqqueue:info(Q, [{item}])");
    let ask = format!("begin {{ok, Q}} = rabbit_amqqueue:lookup({name}), [{{_, N}}] = {info}, N end");
    server.eval(&ask).trim().parse().unwrap()
}

#[track_caller]
fn wait_for(what: &str, condition: impl FnMut() -> bool) {
    assert!(eventually(3 * PATIENCE, condition), "{what}");
}
