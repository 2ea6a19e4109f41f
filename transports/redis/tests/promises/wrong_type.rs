//! A key that is something else than it should be is nobody's ruin but its queue's, and only while it is so.

use kombu_brokers::RedisServer;
use kombu_core::ErrorKind;

use crate::common::{Rig, block_on};
use crate::seen::{each_wake, settled, woken_by};

#[test]
fn a_queue_that_is_no_list_holds_up_no_other() {
    each_wake(|wake| {
        let server = RedisServer::start();
        let rig = Rig::with(&server, woken_by(wake));
        let channel = rig.channel();
        let (good, bad) = (channel.consume("good"), channel.consume("bad"));
        settled(&server, wake);
        server.command(&["SET", "bad", "a string"]);
        let error = block_on(channel.send("", "bad", "x")).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::PreconditionFailed, "{error}");
        for number in 0..3 {
            channel.publish("", "good", number.to_string());
            channel.ack(good.take(1)[0].tag).unwrap();
        }
        server.command(&["DEL", "bad"]);
        channel.publish("", "bad", "y");
        channel.ack(bad.take(1)[0].tag).unwrap();
    });
}
