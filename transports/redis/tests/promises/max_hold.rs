//! With `max_hold` a handler that hangs does not keep its message for ever.

use kombu_brokers::{PATIENCE, RedisServer, eventually};
use kombu_core::{ErrorKind, Value};

use crate::common::{Rig, bodies, options, prioritised};

#[test]
fn what_a_handler_that_hangs_holds_goes_to_others_and_it_learns_so() {
    let server = RedisServer::start();
    let hanging = Rig::with(&server, options([("max_hold", Value::from(1.5))]));
    let channel = hanging.channel();
    let inbox = channel.consume("q");
    let urgent = prioritised("", "q", "stuck", Some(9));
    crate::common::block_on(channel.channel.basic_publish(Default::default(), urgent)).unwrap();
    let stuck = inbox.take(1).remove(0);
    let other = Rig::new(&server);
    let rescue = other.channel();
    let rescued = rescue.consume("q");
    // The hub hangs with the handler.
    let (release, released) = std::sync::mpsc::channel::<()>();
    hanging.handle.call_soon(move |_| _ = released.recv_timeout(6 * PATIENCE));
    assert!(eventually(3 * PATIENCE, || rescued.len() > 0), "left: {:?}", server.keys());
    let again = rescued.take(1).remove(0);
    assert_eq!(bodies(std::slice::from_ref(&again)), ["stuck"]);
    assert!(again.redelivered);
    assert_eq!(again.delivery_count, Some(1));
    rescue.ack(again.tag).unwrap();
    release.send(()).unwrap();
    assert_eq!(channel.ack(stuck.tag).unwrap_err().kind(), ErrorKind::LeaseLost);
    // What it takes now is its own.
    rescue.cancel(&rescued);
    channel.publish("", "q", "next");
    channel.ack(inbox.take(1)[0].tag).unwrap();
    assert!(eventually(PATIENCE, || server.command(&["EXISTS", "unacked", "q"]).int() == 0));
}
