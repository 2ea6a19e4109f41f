//! A mandatory message that matches no queue comes back; any other is confirmed to no queue.

use kombu_brokers::RedisServer;
use kombu_core::method::BasicPublish;
use kombu_core::{Confirmation, ExchangeKind};

use crate::common::{Rig, block_on, envelope, options};

#[test]
fn unroutable_messages_come_back_each_to_its_own_publish() {
    let server = RedisServer::start();
    let rig = Rig::new(&server);
    let channel = rig.channel();
    channel.exchange("e", ExchangeKind::Direct);
    channel.queue("q");
    channel.bind("q", "e", "k");
    let mandatory = BasicPublish { mandatory: true, ..BasicPublish::default() };
    let confirms: Vec<_> = (0..300)
        .map(|number: usize| {
            let key = if number.is_multiple_of(3) { "nowhere" } else { "k" };
            channel.channel.basic_publish(mandatory, envelope("e", key, number.to_string()))
        })
        .collect();
    for (number, confirm) in confirms.into_iter().enumerate() {
        match block_on(confirm).unwrap() {
            Confirmation::Returned(returned) => {
                assert!(number.is_multiple_of(3));
                assert_eq!(&returned.envelope.body[..], number.to_string().as_bytes());
                assert_eq!(returned.code, 312);
            }
            Confirmation::Confirmed { queues } => {
                assert!(!number.is_multiple_of(3));
                assert_eq!(queues, Some(1));
            }
        }
    }
    assert_eq!(channel.publish("e", "nowhere", "x"), Some(0));
}

#[test]
fn a_broadcast_nobody_hears_comes_back() {
    let server = RedisServer::start();
    let rig = Rig::new(&server);
    let channel = rig.channel();
    channel.exchange("f", ExchangeKind::Fanout);
    let mandatory = BasicPublish { mandatory: true, ..BasicPublish::default() };
    let answer = block_on(channel.channel.basic_publish(mandatory, envelope("f", "", "x"))).unwrap();
    assert!(matches!(answer, Confirmation::Returned(_)), "{answer:?}");
}

#[test]
fn the_dead_letter_queue_takes_what_a_direct_exchange_cannot_route() {
    let server = RedisServer::start();
    let rig = Rig::with(&server, options([("deadletter_queue", "dead")]));
    let channel = rig.channel();
    channel.exchange("e", ExchangeKind::Direct);
    channel.exchange("t", ExchangeKind::Topic);
    assert_eq!(channel.publish("e", "nowhere", "x"), Some(1));
    assert_eq!(channel.publish("t", "nowhere", "x"), Some(0));
    assert_eq!(server.command(&["LLEN", "dead"]).int(), 1);
}

#[test]
fn bindings_lost_in_a_flush_are_made_again() {
    let server = RedisServer::start();
    let rig = Rig::new(&server);
    let channel = rig.channel();
    channel.exchange("e", ExchangeKind::Direct);
    channel.queue("q");
    channel.bind("q", "e", "k");
    server.flushall();
    assert_eq!(channel.publish("e", "k", "x"), Some(1));
    assert_eq!(server.command(&["SCARD", "_kombu.binding.e"]).int(), 1);
}
