//! What is settled in one tick is one command, for the whole connection, and whose lease was lost learns so.

use kombu_brokers::{MonitoredCommand, PATIENCE, RedisServer, eventually};
use kombu_core::{ErrorKind, Settled, reply};

use crate::common::{Rig, TestChannel, block_on};

/// Opens channels with a consumer each, and returns them with what each holds: `each` messages.
fn holding(rig: &Rig, channels: usize, each: usize) -> Vec<(TestChannel, Vec<kombu_core::DeliveryTag>)> {
    let publisher = rig.channel();
    let open = |number: usize| {
        let channel = rig.channel();
        let queue = format!("q{number}");
        let inbox = channel.consume(&queue);
        let confirms: Vec<_> = (0..each).map(|number| publisher.send("", &queue, number.to_string())).collect();
        confirms.into_iter().for_each(|confirm| drop(block_on(confirm).unwrap()));
        let tags = inbox.take(each).iter().map(|delivery| delivery.tag).collect();
        (channel, tags)
    };
    (0..channels).map(open).collect()
}

/// Settles everything on the hub's thread, in one tick, the channels in turn.
fn settle_in_one_tick(
    rig: &Rig,
    held: &[(TestChannel, Vec<kombu_core::DeliveryTag>)],
    settle: fn(&TestChannel, kombu_core::DeliveryTag) -> Settled,
) -> Vec<Settled> {
    let held = held.to_vec();
    let (sender, answers) = reply::channel();
    rig.handle.call_soon(move |_| {
        let each = held.iter().map(|(_, tags)| tags.len()).max().unwrap();
        let mut settled = Vec::new();
        for at in 0..each {
            for (channel, tags) in &held {
                settled.extend(tags.get(at).map(|tag| settle(channel, *tag)));
            }
        }
        sender.send(settled);
    });
    block_on(answers).unwrap()
}

/// Returns the scripts that forgot messages.
fn acks(heard: &[MonitoredCommand]) -> Vec<Vec<String>> {
    let texts = heard.iter().filter(|command| command.client != "lua").map(MonitoredCommand::texts);
    texts.filter(|words| words[0].eq_ignore_ascii_case("EVALSHA") && words[2] == "3" && words[3] == "unacked").collect()
}

#[test]
fn acks_of_a_tick_are_one_command_for_all_channels() {
    let server = RedisServer::start();
    let rig = Rig::new(&server);
    let held = holding(&rig, 20, 5);
    let mut monitor = server.monitor();
    monitor.take();
    for answer in settle_in_one_tick(&rig, &held, |channel, tag| channel.channel.basic_ack(tag, false)) {
        block_on(answer).unwrap();
    }
    let acks = acks(&monitor.take());
    assert_eq!(acks.len(), 1, "{acks:?}");
    let tags = acks[0][6..].iter().filter(|word| word.contains(':'));
    assert_eq!(tags.count(), 100, "{acks:?}");
    assert_eq!(server.command(&["HLEN", "unacked"]).int(), 0);
}

#[test]
fn a_lost_lease_is_told_of_exactly_that_message_and_to_its_channel() {
    let server = RedisServer::start();
    let rig = Rig::new(&server);
    let held = holding(&rig, 4, 3);
    // Of the messages of each queue, which somebody else has been given by now.
    let lost = [("q1", "0"), ("q1", "2"), ("q3", "1")];
    let fields = server.command(&["HGETALL", "unacked"]);
    for pair in fields.texts().chunks(2) {
        let is_lost = |(queue, body): &(&str, &str)| {
            let body = format!("\"body\": \"{}\"", ["MA==", "MQ==", "Mg=="][body.parse::<usize>().unwrap()]);
            pair[1].ends_with(&format!("\"{queue}\"]")) && pair[1].contains(&body)
        };
        if lost.iter().any(is_lost) {
            server.command(&["HDEL", "unacked", pair[0]]);
            server.command(&["ZREM", "unacked_index", pair[0]]);
        }
    }
    assert_eq!(server.command(&["HLEN", "unacked"]).int(), 9);
    let answers = settle_in_one_tick(&rig, &held, |channel, tag| channel.channel.basic_ack(tag, false));
    for (number, answer) in answers.into_iter().enumerate() {
        let (queue, body) = (format!("q{}", number % 4), (number / 4).to_string());
        let is_lost = lost.contains(&(queue.as_str(), body.as_str()));
        match block_on(answer) {
            Ok(()) => assert!(!is_lost, "{queue} {body}"),
            Err(error) => assert!(is_lost && error.kind() == ErrorKind::LeaseLost, "{queue} {body}: {error}"),
        }
    }
    let told = || -> Vec<usize> {
        held.iter().map(|(channel, _)| channel.events.settle_failed.lock().unwrap().len()).collect()
    };
    assert!(eventually(PATIENCE, || told() == [0, 1, 0, 1]), "each channel of its own: {:?}", told());
    assert_eq!(server.command(&["HLEN", "unacked"]).int(), 0);
}

#[test]
fn what_is_given_back_in_a_tick_is_one_command_too() {
    let server = RedisServer::start();
    let rig = Rig::new(&server);
    let held = holding(&rig, 10, 3);
    for (channel, _) in &held {
        channel.qos(1, true);
    }
    let mut monitor = server.monitor();
    monitor.take();
    for answer in settle_in_one_tick(&rig, &held, |channel, tag| channel.channel.basic_reject(tag, true)) {
        block_on(answer).unwrap();
    }
    let heard = monitor.take();
    let given_back = heard.iter().filter(|command| command.client != "lua").map(MonitoredCommand::texts);
    let given_back: Vec<_> = given_back
        .filter(|words| words[0].eq_ignore_ascii_case("EVALSHA") && words[3] == "unacked" && words[5] == "q0")
        .collect();
    assert_eq!(given_back.len(), 1, "{given_back:?}");
    let settled = || server.command(&["HLEN", "unacked"]).int() <= 10;
    assert!(eventually(PATIENCE, settled));
}
