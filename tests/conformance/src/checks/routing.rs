//! A message goes to the queues that AMQP says, once each.

use std::collections::BTreeSet;

use kombu_core::method::ExchangeDelete;
use kombu_core::{ErrorKind, ExchangeKind, FieldTable, ShortStr};

use crate::bench::Bench;
use crate::check::{Check, Group};
use crate::failure::{During, Verdict, refused, same};
use crate::lane::exchange_declare;
use crate::matcher::{TOPIC_CASES, topic_matches};
use crate::need::Need::Can;

pub(super) const CHECKS: &[Check] = &[
    Check::new(Group::Routing, "default_exchange_by_queue_name", default_exchange_by_queue_name)
        .promise("the default exchange routes to the queue of the key's name, in exactly these letters")
        .steps("declare `q`, publish to `q` and to `Q`, look into `q`")
        .reference("one message")
        .spec("AMQP 0-9-1 §3.1.3.1, default exchange"),
    Check::new(Group::Routing, "default_exchange_is_the_brokers", default_exchange_is_the_brokers)
        .promise("the default exchange cannot be bound to, declared or deleted")
        .steps("bind a queue to it, declare it, delete it, each on a channel of its own; publish through it")
        .reference("403, channel closed")
        .spec("AMQP 0-9-1 §3.1.3.1; RabbitMQ reply code 403")
        .needs(&[Can("topology_registry")]),
    Check::new(Group::Routing, "publish_to_missing_queue_creates_nothing", publish_to_missing_queue_creates_nothing)
        .promise("a publish to a queue that does not exist creates nothing")
        .steps("publish through the default exchange to a missing queue; declare the queue, look; passive before that")
        .reference("confirmed and gone; the new queue is empty")
        .spec("AMQP 0-9-1 §3.1.3.1")
        .needs(&[Can("topology_registry")]),
    Check::new(Group::Routing, "publish_to_missing_exchange_not_found", publish_to_missing_exchange_not_found)
        .promise("a publish to an exchange that does not exist is an error")
        .steps("publish to a missing exchange; publish on a new channel")
        .reference("404, channel closed; the connection goes on")
        .spec("AMQP 0-9-1 basic.publish, rule `must-exist`"),
    Check::new(Group::Routing, "direct_exact_key", direct_exact_key)
        .promise("a direct exchange routes by the exact key to every queue bound with it")
        .steps("bind two queues with `key` and one with `Key`; publish with `key`, `Key`, `ke`, `key2`")
        .reference("each queue gets what its key says")
        .spec("AMQP 0-9-1 §3.1.3.1"),
    Check::new(Group::Routing, "double_binding_single_copy", double_binding_single_copy)
        .promise("a queue that two bindings lead to gets one copy")
        .steps(
            "bind a queue by a key twice and by another; publish with both keys; with a topic exchange by two patterns",
        )
        .reference("one copy each")
        .spec("AMQP 0-9-1 §3.1.1"),
    Check::new(Group::Routing, "topic_table", topic_table)
        .promise("a topic pattern matches as AMQP says: `*` one word, `#` zero or more, case counts, empty words count")
        .steps("13 cases seen on RabbitMQ and 200 random ones: bind by the patterns, publish by the keys, compare")
        .reference("what the reference matcher says")
        .spec("AMQP 0-9-1 §3.1.3.3")
        .needs(&[Can("exchange_topic")]),
    Check::new(Group::Routing, "fanout_reaches_every_consumer", fanout_reaches_every_consumer)
        .promise("a fanout exchange gives each consumed queue that is bound to it its own copy")
        .steps("bind two queues, consume both, publish 2; a third queue is not bound")
        .reference("both get both")
        .spec("AMQP 0-9-1 §3.1.3.2")
        .needs(&[Can("exchange_fanout")]),
    Check::new(Group::Routing, "fanout_ignores_key", fanout_ignores_key)
        .promise("a fanout exchange routes to every bound queue whatever the key")
        .steps("consume two queues bound by different keys; publish by a third key and by none")
        .reference("both get both")
        .spec("AMQP 0-9-1 §3.1.3.2")
        .needs(&[Can("exchange_fanout"), Can("fanout_stored")]),
    Check::new(Group::Routing, "fanout_reaches_idle_queue", fanout_reaches_idle_queue)
        .promise("a fanout message waits in a queue without consumer")
        .steps("bind a queue, publish, then fetch")
        .reference("it is there")
        .spec("AMQP 0-9-1 §3.1.3.2")
        .needs(&[Can("exchange_fanout"), Can("fanout_stored")]),
    Check::new(Group::Routing, "headers_match_table", headers_match_table)
        .promise("a headers exchange matches all or any of the binding's arguments, by value and type, `x-` ignored")
        .steps("14 cases of arguments and headers: bind, publish, compare")
        .reference("all by default; empty all matches, empty any does not; 1 is not \"1\"; void matches presence")
        .spec("AMQP 0-9-1 §3.1.3.4")
        .needs(&[Can("exchange_headers")]),
    Check::new(Group::Routing, "exchange_chain_and_cycle", exchange_chain_and_cycle)
        .promise("exchanges bound to exchanges pass messages on, once per queue, and a cycle ends")
        .steps("a → b → c → a, a queue at b and at c, one more on both ways; publish to a; end a binding, publish")
        .reference("one copy per queue; none past the ended binding")
        .spec("RabbitMQ, Exchange to Exchange Bindings")
        .needs(&[Can("exchange_to_exchange")]),
    Check::new(Group::Routing, "unbind_stops_only_that_binding", unbind_stops_only_that_binding)
        .promise("ending a binding stops that way and no other")
        .steps("bind two queues by two keys; end one of the four bindings; publish by both keys")
        .reference("three of four arrive")
        .spec("AMQP 0-9-1 queue.unbind"),
    Check::new(Group::Routing, "alternate_exchange_takes_unroutable", alternate_exchange_takes_unroutable)
        .promise("what an exchange cannot route goes to its alternate exchange, and to that one's")
        .steps("x with alternate y with alternate z; route by a key of x, of y, and of none")
        .reference("each message at the first exchange that routes it")
        .spec("RabbitMQ, Alternate Exchanges")
        .needs(&[Can("alternate_exchange")]),
];

fn default_exchange_by_queue_name(bench: &Bench) -> Verdict {
    let lane = bench.channel()?;
    let queue = lane.queue("q")?;
    let other: ShortStr = bench.queue_name("Q");
    lane.put(&queue, "one")?;
    lane.put(&other, "elsewhere")?;
    lane.put(&queue, "two")?;
    same("messages", lane.bodies(&queue)?, ["one", "two"])
}

fn default_exchange_is_the_brokers(bench: &Bench) -> Verdict {
    let lane = bench.channel()?;
    let (queue, default) = (lane.queue("q")?, ShortStr::default());
    let kinds = [ErrorKind::AccessRefused];
    refused("bind to the default exchange", bench.channel()?.bind(&queue, &default, "key"), &kinds)?;
    let declared = bench.channel()?.exchange_declare(exchange_declare(&default, ExchangeKind::Direct));
    refused("declare the default exchange", declared, &kinds)?;
    refused("delete the default exchange", bench.channel()?.exchange_delete(ExchangeDelete::default()), &kinds)?;
    lane.put(&queue, "routed")?;
    same("messages", lane.bodies(&queue)?, ["routed"])
}

fn publish_to_missing_queue_creates_nothing(bench: &Bench) -> Verdict {
    let lane = bench.channel()?;
    let queue = bench.queue_name("q");
    lane.put(&queue, "lost")?;
    refused("passive declare after the publish", bench.channel()?.passive(&queue), &[ErrorKind::NotFound])?;
    lane.queue("q")?;
    lane.put(&queue, "kept")?;
    same("messages of the queue declared afterwards", lane.bodies(&queue)?, ["kept"])
}

fn publish_to_missing_exchange_not_found(bench: &Bench) -> Verdict {
    let transport = bench.connect()?;
    let lane = bench.channel_on(&transport)?;
    let missing = bench.name("missing");
    refused("publish to a missing exchange", lane.publish(&missing, "key", "lost"), &[ErrorKind::NotFound])?;
    bench.channel_on(&transport)?.is_alive().during("another channel of the connection")
}

fn direct_exact_key(bench: &Bench) -> Verdict {
    let lane = bench.channel()?;
    let exchange = lane.exchange("x", ExchangeKind::Direct)?;
    let (one, two, upper) = (lane.queue("one")?, lane.queue("two")?, lane.queue("upper")?);
    lane.bind(&one, &exchange, "key")?;
    lane.bind(&two, &exchange, "key")?;
    lane.bind(&upper, &exchange, "Key")?;
    for key in ["key", "Key", "ke", "key2", "", "key.", "*", "#"] {
        lane.publish(&exchange, key, key)?;
    }
    same("messages of the first queue bound by `key`", lane.bodies(&one)?, ["key"])?;
    same("messages of the second queue bound by `key`", lane.bodies(&two)?, ["key"])?;
    same("messages of the queue bound by `Key`", lane.bodies(&upper)?, ["Key"])
}

fn double_binding_single_copy(bench: &Bench) -> Verdict {
    let lane = bench.channel()?;
    let exchange = lane.exchange("x", ExchangeKind::Direct)?;
    let queue = lane.queue("q")?;
    lane.bind(&queue, &exchange, "key")?;
    lane.bind(&queue, &exchange, "key")?;
    lane.bind(&queue, &exchange, "other")?;
    lane.publish(&exchange, "key", "one")?;
    lane.publish(&exchange, "other", "two")?;
    same("copies", lane.bodies(&queue)?, ["one", "two"])?;
    if bench.can("exchange_topic")? {
        let topic = lane.exchange("t", ExchangeKind::Topic)?;
        for pattern in ["a.*", "*.b", "a.b"] {
            lane.bind(&queue, &topic, pattern)?;
        }
        lane.publish(&topic, "a.b", "three")?;
        same("copies by three patterns", lane.bodies(&queue)?, ["three"])?;
    }
    Ok(())
}

/// Patterns are bound to queues of one exchange, each key is published once, and what each queue got is compared.
fn topic_round(bench: &Bench, what: &str, patterns: &[String], keys: &[String]) -> Verdict {
    let lane = bench.channel()?;
    let exchange = lane.exchange(what, ExchangeKind::Topic)?;
    let mut queues = Vec::new();
    for (number, pattern) in patterns.iter().enumerate() {
        let queue = lane.queue(&format!("{what}-{number}"))?;
        lane.bind(&queue, &exchange, pattern)?;
        queues.push((pattern, queue));
    }
    for key in keys {
        lane.publish(&exchange, key, &format!("={key}"))?;
    }
    for (pattern, queue) in queues {
        let want: Vec<_> = keys.iter().filter(|key| topic_matches(pattern, key)).map(|key| format!("={key}")).collect();
        same(format!("keys (behind `=`) that came by the pattern `{pattern}`"), lane.bodies(&queue)?, want)?;
    }
    Ok(())
}

fn topic_table(bench: &Bench) -> Verdict {
    let unique = |texts: Vec<&str>| -> Vec<String> {
        texts.into_iter().collect::<BTreeSet<_>>().into_iter().map(str::to_owned).collect()
    };
    let patterns = unique(TOPIC_CASES.iter().map(|case| case.0).collect());
    let keys = unique(TOPIC_CASES.iter().map(|case| case.1).collect());
    topic_round(bench, "table", &patterns, &keys)?;
    let text = |words: &[&'static str]| -> String {
        let chosen: Vec<_> = (0..bench.random(5)).map(|_| *bench.pick(words)).collect();
        chosen.join(".")
    };
    // 10 patterns × 20 keys are 200 pairs.
    let count = bench.many(20);
    let patterns: BTreeSet<_> = (0..10).map(|_| text(&["a", "b", "*", "#", "", "#"])).collect();
    let keys: BTreeSet<_> = (0..count).map(|_| text(&["a", "b", "B", ""])).collect();
    let (patterns, keys): (Vec<_>, Vec<_>) = (patterns.into_iter().collect(), keys.into_iter().collect());
    topic_round(bench, "random", &patterns, &keys)
}

fn fanout_reaches_every_consumer(bench: &Bench) -> Verdict {
    let lane = bench.channel()?;
    let exchange = lane.exchange("x", ExchangeKind::Fanout)?;
    let (one, two, unbound) = (lane.queue("one")?, lane.queue("two")?, lane.queue("unbound")?);
    lane.bind(&one, &exchange, "")?;
    lane.bind(&two, &exchange, "")?;
    let (first, second) = (lane.consume(&one)?, lane.consume(&two)?);
    lane.publish(&exchange, "", "1")?;
    lane.publish(&exchange, "", "2")?;
    for (what, consumed) in [("one", &first), ("two", &second)] {
        let got = crate::lane::bodies(&consumed.expect(2).during(format!("the queue `{what}`"))?);
        same(format!("messages of the queue `{what}`"), got, ["1", "2"])?;
    }
    same("messages of a queue that is not bound", lane.bodies(&unbound)?, [""; 0])
}

fn fanout_ignores_key(bench: &Bench) -> Verdict {
    let lane = bench.channel()?;
    let exchange = lane.exchange("x", ExchangeKind::Fanout)?;
    let (one, two, unbound) = (lane.queue("one")?, lane.queue("two")?, lane.queue("unbound")?);
    lane.bind(&one, &exchange, "")?;
    lane.bind(&two, &exchange, "key")?;
    let (first, second) = (lane.consume(&one)?, lane.consume(&two)?);
    for key in ["other", "", "key"] {
        lane.publish(&exchange, key, &format!("={key}"))?;
    }
    for (what, consumed) in [("bound without a key", &first), ("bound by a key", &second)] {
        let got = crate::lane::bodies(&consumed.expect(3).during(format!("the queue {what}"))?);
        same(format!("messages of the queue {what}"), got, ["=other", "=", "=key"])?;
    }
    same("messages of a queue that is not bound", lane.bodies(&unbound)?, [""; 0])
}

fn fanout_reaches_idle_queue(bench: &Bench) -> Verdict {
    let lane = bench.channel()?;
    let exchange = lane.exchange("x", ExchangeKind::Fanout)?;
    let (one, two) = (lane.queue("one")?, lane.queue("two")?);
    lane.bind(&one, &exchange, "")?;
    lane.bind(&two, &exchange, "")?;
    lane.publish(&exchange, "", "stored")?;
    same("messages of one idle queue", lane.bodies(&one)?, ["stored"])?;
    same("messages of the other", lane.bodies(&two)?, ["stored"])
}

fn headers_match_table(bench: &Bench) -> Verdict {
    let table = |entries: &[(&'static str, kombu_core::Value)]| -> FieldTable { entries.iter().cloned().collect() };
    let (text, number) =
        (|text: &'static str| kombu_core::Value::from(text), |number: i64| kombu_core::Value::from(number));
    let void = || kombu_core::Value::Null;
    let all = ("x-match", text("all"));
    let any = ("x-match", text("any"));
    let cases = [
        ("all, both there", table(&[all.clone(), ("a", number(1)), ("b", text("x"))]), true),
        ("all, one missing", table(&[all.clone(), ("a", number(1)), ("c", text("x"))]), false),
        ("all, one differs", table(&[all.clone(), ("a", number(2))]), false),
        ("any, one there", table(&[any.clone(), ("a", number(1)), ("c", text("x"))]), true),
        ("any, none there", table(&[any.clone(), ("c", number(1)), ("d", text("x"))]), false),
        ("default is all, one missing", table(&[("a", number(1)), ("c", number(1))]), false),
        ("default is all, both there", table(&[("a", number(1)), ("b", text("x"))]), true),
        ("empty all", table(std::slice::from_ref(&all)), true),
        ("empty any", table(std::slice::from_ref(&any)), false),
        ("x- is ignored by all", table(&[all.clone(), ("a", number(1)), ("x-other", number(9))]), true),
        ("x- is ignored by any", table(&[any, ("x-mine", number(5))]), false),
        ("1 is not \"1\"", table(&[all.clone(), ("a", text("1"))]), false),
        ("void matches presence", table(&[all.clone(), ("a", void())]), true),
        ("void needs presence", table(&[all, ("c", void())]), false),
    ];
    let lane = bench.channel()?;
    let exchange = lane.exchange("x", ExchangeKind::Headers)?;
    let mut queues = Vec::new();
    for (number, (what, arguments, matches)) in cases.into_iter().enumerate() {
        let queue = lane.queue(&format!("q{number}"))?;
        lane.bind_with(&queue, &exchange, "", arguments)?;
        queues.push((what, queue, matches));
    }
    let mut envelope = crate::lane::envelope(&exchange, "", "hello");
    envelope.headers = table(&[("a", number(1)), ("b", text("x")), ("x-mine", number(5))]).into();
    lane.publish_envelope(envelope, false)?;
    for (what, queue, matches) in queues {
        let want = if matches { vec!["hello"] } else { Vec::new() };
        same(format!("messages by the binding `{what}`"), lane.bodies(&queue)?, want)?;
    }
    Ok(())
}

fn exchange_chain_and_cycle(bench: &Bench) -> Verdict {
    let lane = bench.channel()?;
    let (a, b) = (lane.exchange("a", ExchangeKind::Fanout)?, lane.exchange("b", ExchangeKind::Direct)?);
    // To every queue bound, where that keeps messages for consumers to come.
    let (kind, all) = if bench.can("fanout_stored")? { (ExchangeKind::Fanout, "") } else { (ExchangeKind::Topic, "#") };
    let c = lane.exchange("c", kind)?;
    let (at_b, at_c, at_both) = (lane.queue("at-b")?, lane.queue("at-c")?, lane.queue("at-both")?);
    lane.exchange_bind(&a, &b, "")?;
    lane.exchange_bind(&b, &c, "key")?;
    lane.exchange_bind(&c, &a, all)?;
    lane.bind(&at_b, &b, "key")?;
    lane.bind(&at_c, &c, all)?;
    lane.bind(&at_both, &b, "key")?;
    lane.bind(&at_both, &c, all)?;
    lane.publish(&a, "key", "one")?;
    lane.publish(&a, "other", "two")?;
    same("messages at b", lane.bodies(&at_b)?, ["one"])?;
    same("messages at c", lane.bodies(&at_c)?, ["one"])?;
    same("messages of the queue on both ways", lane.bodies(&at_both)?, ["one"])?;
    lane.exchange_unbind(&b, &c, "key")?;
    lane.publish(&a, "key", "three")?;
    same("messages at b afterwards", lane.bodies(&at_b)?, ["three"])?;
    same("messages past the ended binding", lane.bodies(&at_c)?, [""; 0])
}

fn unbind_stops_only_that_binding(bench: &Bench) -> Verdict {
    let lane = bench.channel()?;
    let exchange = lane.exchange("x", ExchangeKind::Direct)?;
    let (one, two) = (lane.queue("one")?, lane.queue("two")?);
    for queue in [&one, &two] {
        lane.bind(queue, &exchange, "a")?;
        lane.bind(queue, &exchange, "b")?;
    }
    lane.unbind(&one, &exchange, "a")?;
    for key in ["a", "b"] {
        lane.publish(&exchange, key, key)?;
    }
    same("messages of the queue with one binding left", lane.bodies(&one)?, ["b"])?;
    same("messages of the other queue", lane.bodies(&two)?, ["a", "b"])
}

fn alternate_exchange_takes_unroutable(bench: &Bench) -> Verdict {
    let lane = bench.channel()?;
    let to = |name: &ShortStr| FieldTable::from([("alternate-exchange", name.as_str())]);
    let z = lane.exchange("z", ExchangeKind::Direct)?;
    let y = lane.exchange_with("y", ExchangeKind::Direct, to(&z))?;
    let x = lane.exchange_with("x", ExchangeKind::Direct, to(&y))?;
    let mut queues = Vec::new();
    for (key, exchange) in [("x", &x), ("y", &y), ("z", &z)] {
        let queue = lane.queue(&format!("q{key}"))?;
        lane.bind(&queue, exchange, key)?;
        queues.push((key, queue));
    }
    for key in ["x", "y", "z", "none"] {
        lane.publish(&x, key, key)?;
    }
    for (key, queue) in queues {
        same(format!("messages at {key}"), lane.bodies(&queue)?, [key])?;
    }
    Ok(())
}
