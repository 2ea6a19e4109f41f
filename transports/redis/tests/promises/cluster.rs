//! On a Redis Cluster all keys of an application are on one node, wherever that is.

use kombu_brokers::{PATIENCE, RedisCluster, eventually};
use kombu_core::method::{BasicPublish, QueueDeclare};
use kombu_core::{Envelope, ErrorKind, ExchangeKind, FieldTable, Value};

use crate::common::{Rig, block_on, bodies, envelope, options};
use crate::failover::{confirmed, consumed, everything_outlives, policies_outlive, replicated};

const PREFIX: &str = "{shop}:";

fn connect(cluster: &RedisCluster, node: usize) -> Rig {
    let url = format!("redis://{}/0", cluster.node(node).addr());
    Rig::try_at(&url, options([("global_keyprefix", PREFIX)])).unwrap()
}

/// Returns a node that does not serve our keys.
fn elsewhere(cluster: &RedisCluster) -> usize {
    (0..3).find(|node| *node != cluster.owner(PREFIX)).unwrap()
}

#[test]
fn messages_pass_whichever_node_the_url_names() {
    let cluster = RedisCluster::start(3, 0);
    let owner = cluster.owner(PREFIX);
    for node in 0..3 {
        let rig = connect(&cluster, node);
        let channel = rig.channel();
        channel.exchange("events", ExchangeKind::Topic);
        channel.queue("q");
        channel.bind("q", "events", "a.#");
        let inbox = channel.consume("q");
        assert_eq!(channel.publish("events", "a.b", "topic"), Some(1));
        assert_eq!(channel.publish("", "q", "plain"), Some(1));
        let deliveries = inbox.take(2);
        assert_eq!(bodies(&deliveries), ["topic", "plain"]);
        channel.ack(deliveries[0].tag).unwrap();
        channel.settle(channel.channel.basic_reject(deliveries[1].tag, true)).unwrap();
        let again = inbox.take(1);
        assert!(again[0].redelivered);
        channel.ack(again[0].tag).unwrap();
        channel.exchange("news", ExchangeKind::Fanout);
        channel.queue("listener");
        channel.bind("listener", "news", "");
        let listening = channel.consume("listener");
        assert_eq!(channel.publish("news", "", "to all"), Some(1));
        assert_eq!(bodies(&listening.take(1)), ["to all"]);
        rig.close().unwrap();
    }
    for node in 0..3 {
        let keys = cluster.node(node).keys();
        assert!(keys.iter().all(|key| key.starts_with(PREFIX)), "{keys:?}");
        assert!(node == owner || keys.is_empty(), "{keys:?}");
    }
}

/// The scripts that look after the life of messages make up the names of most of their keys.
#[test]
fn queues_with_a_policy_keep_it() {
    let cluster = RedisCluster::start(3, 0);
    let owner = cluster.owner(PREFIX);
    let url = format!("redis://{}/0", cluster.node(elsewhere(&cluster)).addr());
    for topology in ["kombu", "registry"] {
        let table = options([
            ("global_keyprefix", Value::from(PREFIX)),
            ("topology", topology.into()),
            ("fanout_stored", true.into()),
        ]);
        let rig = Rig::try_at(&url, table).unwrap();
        let channel = rig.channel();
        let name = |name: &str| format!("{topology}.{name}");
        let queue = |queue: &str, arguments: FieldTable| {
            channel.declare(QueueDeclare { queue: name(queue).into(), arguments, ..QueueDeclare::default() }).unwrap();
        };
        let dying = |mut more: FieldTable| {
            more.insert("x-dead-letter-exchange", name("f"));
            more
        };
        channel.exchange(&name("f"), ExchangeKind::Fanout);
        queue("dead", FieldTable::new());
        channel.bind(&name("dead"), &name("f"), "");
        queue("rejected", dying(FieldTable::from([("x-dead-letter-routing-key", "")])));
        queue("short", FieldTable::from([("x-max-length", 2)]));
        queue(
            "fleeting",
            dying(FieldTable::from([("x-message-ttl", Value::from(50)), ("x-dead-letter-routing-key", "".into())])),
        );
        let dead = channel.consume(&name("dead"));
        channel.publish("", &name("rejected"), "rejected");
        let taken = channel.get(&name("rejected")).unwrap();
        channel.settle(channel.channel.basic_reject(taken.tag, false)).unwrap();
        assert_eq!(bodies(&dead.take(1)), ["rejected"]);
        channel.publish("", &name("fleeting"), "expired");
        assert_eq!(bodies(&dead.take(1)), ["expired"]);
        for number in 0..3 {
            channel.publish("", &name("short"), number.to_string());
        }
        assert_eq!(bodies(&[channel.get(&name("short")).unwrap()]), ["1"]);
        channel.delayed_exchange(&name("later"), "direct");
        channel.bind(&name("dead"), &name("later"), "k");
        let mut late = Envelope::clone(&envelope(&name("later"), "k", "late"));
        late.headers = FieldTable::from([("x-delay", 100)]).into();
        block_on(channel.channel.basic_publish(BasicPublish::default(), late.into())).unwrap();
        assert_eq!(bodies(&dead.take(1)), ["late"]);
        rig.close().unwrap();
    }
    for node in 0..3 {
        let keys = cluster.node(node).keys();
        assert!(keys.iter().all(|key| key.starts_with(PREFIX)) && (node == owner || keys.is_empty()), "{keys:?}");
    }
}

#[test]
fn keys_that_would_be_spread_are_refused() {
    let cluster = RedisCluster::start(3, 0);
    for prefix in ["", "shop:", "{}shop:"] {
        let url = format!("redis://{}/0", cluster.node(0).addr());
        let Err(error) = Rig::try_at(&url, options([("global_keyprefix", prefix)])) else {
            panic!("{prefix:?} will do")
        };
        assert_eq!(error.kind(), ErrorKind::InvalidArgument, "{error}");
        assert_eq!(error.context("option"), Some("global_keyprefix"));
        assert!(error.to_string().contains("hash tag"), "{error}");
    }
    let url = format!("redis://{}/1", cluster.node(0).addr());
    let Err(error) = Rig::try_at(&url, options([("global_keyprefix", PREFIX)])) else {
        panic!("a cluster has database 1")
    };
    assert_eq!(error.kind(), ErrorKind::InvalidArgument, "{error}");
}

#[test]
fn a_single_server_takes_a_hash_tag_too() {
    let server = kombu_brokers::RedisServer::start();
    let rig = Rig::with(&server, options([("global_keyprefix", PREFIX)]));
    assert_eq!(rig.channel().publish("", "q", "x"), Some(1));
    assert_eq!(server.keys(), ["{shop}:q"]);
}

#[test]
fn a_replica_takes_over_and_everything_goes_on() {
    let mut cluster = RedisCluster::start(3, 1);
    let owner = cluster.owner(PREFIX);
    let rig = connect(&cluster, elsewhere(&cluster));
    everything_outlives(&rig.channel(), || {
        replicated(cluster.node(owner), "{shop}:mark");
        cluster.node_mut(owner).kill();
    });
    assert_eq!(cluster.owner(PREFIX), owner + 3, "its replica has it now");
}

#[test]
fn queues_do_on_the_replica_what_they_were_declared_to_do() {
    let mut cluster = RedisCluster::start(3, 1);
    let owner = cluster.owner(PREFIX);
    let rig = connect(&cluster, elsewhere(&cluster));
    policies_outlive(&rig.channel(), || {
        replicated(cluster.node(owner), "{shop}:mark");
        cluster.node_mut(owner).kill();
    });
}

#[test]
fn a_slot_that_is_moved_is_followed() {
    let cluster = RedisCluster::start(3, 0);
    let from = cluster.owner(PREFIX);
    let to = elsewhere(&cluster);
    let rig = connect(&cluster, from);
    let channel = rig.channel();
    let inbox = channel.consume("q");
    channel.publish("", "q", "before");
    assert_eq!(bodies(&inbox.take(1)), ["before"]);
    channel.publish("", "waiting", "kept");
    let id = |node: usize| cluster.node(node).command(&["CLUSTER", "MYID"]).text().to_owned();
    let slot = cluster.node(0).command(&["CLUSTER", "KEYSLOT", PREFIX]).int().to_string();
    cluster.node(to).command(&["CLUSTER", "SETSLOT", &slot, "IMPORTING", &id(from)]);
    cluster.node(from).command(&["CLUSTER", "SETSLOT", &slot, "MIGRATING", &id(to)]);
    // Under way while the slot is in two places: what is sent to the one is answered ASK or TRYAGAIN, and waits.
    let sent: Vec<_> = (0..20).map(|number| channel.send("", "q", format!("{number}"))).collect();
    let port = cluster.node(to).port().to_string();
    let mut moved = || {
        let keys = cluster.node(from).keys();
        for key in &keys {
            cluster.node(from).command(&["MIGRATE", "127.0.0.1", &port, key, "0", "10000"]);
        }
        keys.is_empty()
    };
    assert!(eventually(PATIENCE, &mut moved));
    for node in [to, from] {
        cluster.node(node).command(&["CLUSTER", "SETSLOT", &slot, "NODE", &id(to)]);
    }
    confirmed(sent);
    consumed(&channel, &inbox, 20);
    assert_eq!(bodies(&[channel.get("waiting").unwrap()]), ["kept"]);
    assert_eq!(cluster.owner(PREFIX), to);
}
