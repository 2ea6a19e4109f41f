//! No queue of a connection starves another.

use std::sync::{Arc, Mutex};

use kombu_brokers::{PATIENCE, RedisServer, eventually};
use kombu_core::delivery::{Delivery, DeliverySink};
use kombu_core::method::BasicConsume;
use kombu_core::{Error, ShortStr};

use crate::common::{Rig, TestChannel, bodies, is_waiting};

/// Notes the bodies of all its consumers in the order they come.
#[derive(Default)]
struct Order(Mutex<Vec<String>>);

impl DeliverySink for Order {
    fn deliver(&self, delivery: Delivery) {
        self.0.lock().unwrap().extend(bodies(&[delivery]));
    }

    fn cancelled(&self, reason: Error) {
        panic!("{reason}");
    }
}

fn consume(channel: &TestChannel, queue: &'static str, sink: &Arc<Order>) -> ShortStr {
    let method = BasicConsume { queue: queue.into(), no_ack: true, ..BasicConsume::default() };
    let sink = Arc::clone(sink);
    channel.call(|channel| async move { channel.basic_consume(method, sink).await }).unwrap()
}

/// Publishes a message and returns its text.
fn text(server: &RedisServer, channel: &TestChannel, body: &str) -> String {
    channel.publish("", "template", body);
    server.command(&["RPOP", "template"]).text().to_owned()
}

#[test]
fn a_busy_queue_leaves_room_for_an_idle_one() {
    const COUNT: usize = 20_000;
    let server = RedisServer::start();
    let rig = Rig::new(&server);
    let channel = rig.channel();
    let texts = ["busy", "idle"].map(|body| text(&server, &channel, body));
    let order = Arc::new(Order::default());
    consume(&channel, "busy", &order);
    consume(&channel, "idle", &order);
    assert!(eventually(PATIENCE, || is_waiting(&server)));
    // All are there before the consumer sees one.
    let script = "for _ = 1, ARGV[3] do redis.call('LPUSH', 'busy', ARGV[1]) end redis.call('LPUSH', 'idle', ARGV[2])";
    server.command(&["EVAL", script, "0", &texts[0], &texts[1], &COUNT.to_string()]);
    assert!(eventually(PATIENCE, || order.0.lock().unwrap().len() == COUNT + 1));
    let place = order.0.lock().unwrap().iter().position(|body| body == "idle").unwrap();
    assert!(place < COUNT / 10, "{place}");
}

#[test]
fn a_busy_queue_behind_many_idle_ones_is_served() {
    let server = RedisServer::start();
    let rig = Rig::new(&server);
    let channel = rig.channel();
    let inboxes: Vec<_> = (0..40).map(|number| channel.consume(&format!("q{number}"))).collect();
    assert!(eventually(PATIENCE, || is_waiting(&server)));
    for round in 0..3 {
        for number in [39, 0, 20, 17, 16, 15] {
            for _ in 0..20 {
                drop(channel.send("", &format!("q{number}"), round.to_string()));
            }
        }
        for number in [39, 0, 20, 17, 16, 15] {
            for delivery in inboxes[number].take(20) {
                channel.ack(delivery.tag).unwrap();
            }
        }
    }
}

#[test]
fn a_key_that_is_no_list_stops_no_other_queue() {
    let server = RedisServer::start();
    let rig = Rig::new(&server);
    let channel = rig.channel();
    server.command(&["SET", "bad", "a string"]);
    let _bad = channel.consume("bad");
    let good = channel.consume("good");
    for number in 0..3 {
        channel.publish("", "good", number.to_string());
        let deliveries = good.take(1);
        assert_eq!(bodies(&deliveries), [number.to_string()]);
        channel.ack(deliveries[0].tag).unwrap();
    }
    assert!(eventually(PATIENCE, || server.command(&["HLEN", "unacked"]).int() == 0));
}
