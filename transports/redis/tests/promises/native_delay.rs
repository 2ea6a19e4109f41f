//! Kombu's own delayed delivery, made for RabbitMQ: 28 queues with doubling times to live, each bound to an exchange that leads on to the
//! next. And what lies between the exchanges: delays that another process declared, dead letters by fanout and headers.

use kombu_brokers::{PATIENCE, RedisServer, eventually};
use kombu_core::method::{BasicPublish, ExchangeBind, QueueBind, QueueDeclare};
use kombu_core::{Confirmation, ExchangeKind, FieldTable, Value};

use crate::common::{Rig, TestChannel, block_on, bodies, envelope, options};

fn declare_queue<const N: usize>(channel: &TestChannel, queue: &str, arguments: [(&str, Value); N]) {
    let arguments = FieldTable::from(arguments);
    channel.declare(QueueDeclare { queue: queue.into(), durable: true, arguments, ..QueueDeclare::default() }).unwrap();
}

fn lead(channel: &TestChannel, destination: &str, source: &str, key: &str) {
    let method = ExchangeBind {
        destination: destination.into(),
        source: source.into(),
        routing_key: key.into(),
        arguments: FieldTable::new(),
    };
    channel.call(|channel| async move { channel.exchange_bind(method).await }).unwrap();
}

/// As `declare_native_delayed_delivery_exchanges_and_queues` of Kombu 5.7 does.
fn declare_levels(channel: &TestChannel) {
    let name = |level: i32| format!("celery_delayed_{level}");
    let mut key = "1.#".to_owned();
    for level in (0..28).rev() {
        channel.exchange(&name(level), ExchangeKind::Topic);
        let next = if level > 0 { name(level - 1) } else { "celery_delayed_delivery".to_owned() };
        declare_queue(
            channel,
            &name(level),
            [
                ("x-queue-type", "quorum".into()),
                ("x-overflow", "reject-publish".into()),
                ("x-message-ttl", (1000_i64 << level).into()),
                ("x-dead-letter-exchange", next.as_str().into()),
                ("x-dead-letter-strategy", "at-least-once".into()),
            ],
        );
        channel.bind(&name(level), &name(level), &key);
        key = format!("*.{key}");
    }
    let mut key = "0.#".to_owned();
    for level in (1..28).rev() {
        lead(channel, &name(level - 1), &name(level), &key);
        key = format!("*.{key}");
    }
    channel.exchange("celery_delayed_delivery", ExchangeKind::Topic);
    lead(channel, "celery_delayed_delivery", &name(0), &key);
}

#[test]
fn kombus_own_delayed_delivery_works() {
    let server = RedisServer::start();
    let rig = Rig::new(&server);
    let channel = rig.channel();
    declare_levels(&channel);
    channel.exchange("tasks", ExchangeKind::Topic);
    lead(&channel, "tasks", "celery_delayed_delivery", "#.work");
    declare_queue(&channel, "work", []);
    channel.bind("work", "tasks", "#.work");
    let inbox = channel.consume("work");
    let publish = |countdown: u32, body: &str| {
        let bits: Vec<String> = format!("{countdown:028b}").chars().map(String::from).collect();
        assert_eq!(channel.publish("celery_delayed_27", &format!("{}.work", bits.join(".")), body), Some(1));
    };
    // Two seconds on one level and one on the next; and no time on any.
    publish(3, "late");
    assert_eq!(server.command(&["LLEN", "celery_delayed_1"]).int(), 1);
    publish(0, "now");
    assert_eq!(bodies(&inbox.take(1)), ["now"]);
    let late = inbox.take(1);
    assert_eq!(bodies(&late), ["late"]);
    let deaths = late[0].envelope.headers.get("x-death").and_then(Value::as_list).unwrap();
    let queue = |death: &Value| death.as_map().unwrap().get("queue").and_then(Value::as_str).unwrap().to_owned();
    assert_eq!(deaths.iter().map(queue).collect::<Vec<_>>(), ["celery_delayed_0", "celery_delayed_1"]);
}

#[test]
fn a_delay_holds_whoever_declared_the_exchange() {
    let server = RedisServer::start();
    let (declaring, other) = (Rig::new(&server), Rig::new(&server));
    let (channel, stranger) = (declaring.channel(), other.channel());
    channel.delayed_exchange("later", "direct");
    channel.bind("q", "later", "k");
    let inbox = channel.consume("q");
    // The second by what is remembered of the first.
    for number in 0..2 {
        stranger.publish("later", "k", format!("now {number}"));
        let mut late = (*envelope("later", "k", format!("late {number}"))).clone();
        late.headers = FieldTable::from([("x-delay", 500)]).into();
        let sent = block_on(stranger.channel.basic_publish(BasicPublish::default(), late.into())).unwrap();
        assert!(matches!(sent, Confirmation::Confirmed { queues: None }), "{sent:?}");
    }
    let mut came = bodies(&inbox.take(4));
    assert_eq!(came.iter().filter(|body| body.starts_with("late")).count(), 2);
    came.sort();
    assert_eq!(came, ["late 0", "late 1", "now 0", "now 1"]);
}

#[test]
fn dead_letters_go_by_headers_and_to_whoever_listens() {
    let server = RedisServer::start();
    let rig = Rig::new(&server);
    let channel = rig.channel();
    channel.exchange("dlx", ExchangeKind::Headers);
    channel.exchange("told", ExchangeKind::Fanout);
    declare_queue(&channel, "work", [("x-dead-letter-exchange", "dlx".into())]);
    declare_queue(&channel, "dead", []);
    let method = QueueBind {
        queue: "dead".into(),
        exchange: "dlx".into(),
        routing_key: "".into(),
        arguments: FieldTable::from([("x-match", "any"), ("kind", "bad")]),
    };
    channel.call(|channel| async move { channel.queue_bind(method).await }).unwrap();
    lead(&channel, "told", "dlx", "");
    // As everywhere on Redis, who listens hears the keys it asked for.
    channel.bind("ears", "told", "work");
    let (dead, ears) = (channel.consume("dead"), channel.consume("ears"));
    let mut bad = (*envelope("", "work", "bad")).clone();
    bad.headers = FieldTable::from([("kind", "bad")]).into();
    block_on(channel.channel.basic_publish(BasicPublish::default(), bad.into())).unwrap();
    let held = channel.get("work").unwrap();
    channel.settle(channel.channel.basic_reject(held.tag, false)).unwrap();
    let letters = dead.take(1);
    assert_eq!(bodies(&letters), ["bad"]);
    assert!(letters[0].envelope.headers.get("x-death").is_some());
    assert_eq!(bodies(&ears.take(1)), ["bad"]);
    channel.ack(letters[0].tag).unwrap();
    assert!(eventually(PATIENCE, || server.command(&["EXISTS", "_kombu.rs.letters", "_kombu.rs.due"]).int() == 0));
}

/// What is broadcast goes into the lists of stored queues in one step with being told; their policies hold all the same.
#[test]
fn stored_broadcast_queues_have_policies_too() {
    let server = RedisServer::start();
    let rig = Rig::with(&server, options([("fanout_stored", true)]));
    let channel = rig.channel();
    channel.exchange("news", ExchangeKind::Fanout);
    declare_queue(&channel, "few", [("x-max-length", 2.into())]);
    declare_queue(
        &channel,
        "short",
        [
            ("x-message-ttl", 100.into()),
            ("x-dead-letter-exchange", "".into()),
            ("x-dead-letter-routing-key", "dead".into()),
        ],
    );
    channel.bind("few", "news", "");
    channel.bind("short", "news", "");
    for number in 0..4 {
        channel.publish("news", "", number.to_string());
    }
    assert!(eventually(PATIENCE, || server.command(&["LLEN", "few"]).int() == 2));
    assert_eq!(bodies(&[channel.get("few").unwrap(), channel.get("few").unwrap()]), ["2", "3"]);
    let dead = channel.consume("dead");
    assert_eq!(bodies(&dead.take(4)), ["0", "1", "2", "3"]);
}
