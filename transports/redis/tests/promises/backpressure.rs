//! A consumer without acknowledgement takes no more than a window ahead of the application.

use std::sync::{Arc, Mutex};

use kombu_brokers::{PATIENCE, RedisServer, eventually};
use kombu_core::Error;
use kombu_core::delivery::{Delivery, DeliverySink};
use kombu_core::method::BasicConsume;

use crate::common::Rig;
use crate::seen::{each_wake, woken_by};

/// An application that takes what came only when it is told to.
#[derive(Default)]
struct Slow {
    waiting: Mutex<Vec<Delivery>>,
}

impl DeliverySink for Slow {
    fn deliver(&self, delivery: Delivery) {
        self.waiting.lock().unwrap().push(delivery);
    }

    fn waiting(&self) -> usize {
        self.waiting.lock().unwrap().len()
    }

    fn cancelled(&self, _reason: Error) {}
}

#[test]
fn what_the_application_has_no_room_for_stays_on_the_server() {
    const COUNT: usize = 4000;
    each_wake(|wake| {
        let server = RedisServer::start();
        let rig = Rig::with(&server, woken_by(wake));
        let channel = rig.channel();
        let sent: Vec<_> = (0..COUNT).map(|number| channel.send("", "q", number.to_string())).collect();
        for confirm in sent {
            crate::common::block_on(confirm).unwrap();
        }
        let slow = Arc::new(Slow::default());
        let sink = Arc::clone(&slow);
        let method = BasicConsume { queue: "q".into(), no_ack: true, ..BasicConsume::default() };
        channel.call(|channel| async move { channel.basic_consume(method, sink).await }).unwrap();
        let length = || usize::try_from(server.command(&["LLEN", "q"]).int()).unwrap();
        let mut bodies = Vec::new();
        while bodies.len() < COUNT {
            assert!(eventually(PATIENCE, || slow.waiting() >= 1024.min(COUNT - bodies.len())));
            // Fetched since, or on its way: nothing more.
            assert!(eventually(PATIENCE, || slow.waiting() + length() + bodies.len() == COUNT));
            assert!(slow.waiting() <= 1024 + 256, "{} wait", slow.waiting());
            bodies.extend(std::mem::take(&mut *slow.waiting.lock().unwrap()));
        }
        let numbers: Vec<_> =
            bodies.iter().map(|delivery| String::from_utf8_lossy(&delivery.envelope.body).into_owned()).collect();
        assert_eq!(numbers, (0..COUNT).map(|number| number.to_string()).collect::<Vec<_>>());
        assert_eq!(server.command(&["EXISTS", "q", "unacked"]).int(), 0);
    });
}
