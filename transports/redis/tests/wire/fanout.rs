//! Fanout: the channels and payloads Kombu used are ours, and a pattern gets what Kombu's consumer got.

use kombu_brokers::RedisServer;

use super::{bytes, entries, options, recording, text};
use crate::envelope::{Limits, read};
use crate::keys::Keys;

#[test]
fn channels_and_payloads_are_kombus() {
    for entry in entries(recording!("redis-fanout")) {
        let keys = Keys::new(&options(&entry));
        let channel = text(&entry["channel"]);
        assert_eq!(keys.fanout_channel("fx", text(&entry["publish_routing_key"])), channel);
        let received = read(&bytes(&entry["payload"]), &Limits::default()).unwrap();
        assert_eq!(received.envelope.exchange, "fx");
        assert_eq!(*received.envelope.routing_key, *text(&entry["publish_routing_key"]));
    }
}

#[test]
fn subscribers_get_what_kombus_got() {
    let server = RedisServer::start();
    for entry in entries(recording!("redis-fanout")) {
        let keys = Keys::new(&options(&entry));
        let mut subscriber = server.client();
        subscriber.command(&["PSUBSCRIBE", &keys.fanout_pattern("fx", text(&entry["binding_key"]))]);
        let receivers = server.command(&["PUBLISH", text(&entry["channel"]), text(&entry["payload"])]).int();
        assert_eq!(receivers == 1, entry["delivered"] == true, "{}", entry["name"]);
    }
}

#[test]
fn names_with_wildcards_subscribe_to_themselves() {
    let server = RedisServer::start();
    let keys = Keys::new(&crate::options::RedisOptions::default());
    for exchange in ["f*", "f[ab]?", "f\\x", "f]"] {
        let mut subscriber = server.client();
        subscriber.command(&["PSUBSCRIBE", &keys.fanout_pattern(exchange, "k?.#")]);
        let publish =
            |exchange: &str, key: &str| server.command(&["PUBLISH", &keys.fanout_channel(exchange, key), "x"]).int();
        assert_eq!(publish(exchange, "k?.a.b"), 1, "{exchange}");
        assert_eq!(publish(exchange, "kx.a"), 0, "{exchange}");
        assert_eq!(publish("fa", "k?.a"), 0, "{exchange}");
    }
}
