//! What a server refuses for now is done once it can be.

use kombu_brokers::{PATIENCE, RedisServer, eventually};

use crate::common::{Rig, block_on};

#[test]
fn publishes_and_settles_wait_while_the_server_is_busy() {
    let server = RedisServer::options().args(["--lua-time-limit", "50"]).start();
    let rig = Rig::new(&server);
    let channel = rig.channel();
    for body in ["acked", "requeued"] {
        channel.publish("", "held", body);
    }
    let (acked, requeued) = (channel.get("held").unwrap(), channel.get("held").unwrap());
    let mut busy = server.client();
    busy.send(&["EVAL", "while true do end", "0"]).unwrap();
    let mut other = server.client();
    assert!(eventually(PATIENCE, || other.try_command(&["PING"]).unwrap().error().is_some()), "the server is not busy");
    let confirms: Vec<_> = (0..20).map(|number| channel.send("", "q", number.to_string())).collect();
    let settles = [channel.channel.basic_ack(acked.tag, false), channel.channel.basic_reject(requeued.tag, true)];
    // Long enough for each of them to be refused several times.
    std::thread::sleep(std::time::Duration::from_millis(500));
    other.command(&["SCRIPT", "KILL"]);
    for confirm in confirms {
        block_on(confirm).unwrap();
    }
    for settle in settles {
        block_on(settle).unwrap();
    }
    for number in 0..20 {
        let delivery = channel.get("q").unwrap();
        assert_eq!(&delivery.envelope.body[..], number.to_string().as_bytes());
        assert!(delivery.envelope.headers.get("x-republished").is_none());
        channel.ack(delivery.tag).unwrap();
    }
    assert!(eventually(PATIENCE, || server.command(&["HLEN", "unacked"]).int() == 0));
    assert_eq!(server.command(&["LLEN", "held"]).int(), 1);
}
