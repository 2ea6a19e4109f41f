//! A connection with many consumers ends as soon as one with few: what they ask the server is asked together.

use kombu_brokers::RedisServer;

use crate::common::{Rig, options};

#[test]
fn a_thousand_consumers_end_together() {
    const COUNT: i64 = 1000;
    let server = RedisServer::start();
    let rig = Rig::with(&server, options([("wake", "tracking")]));
    let channels: Vec<_> = (0..COUNT)
        .map(|number| {
            let channel = rig.channel();
            let inbox = channel.consume(&format!("q{number}"));
            (channel, inbox)
        })
        .collect();
    let reads = || {
        let info = server.command(&["INFO", "stats"]);
        let line = info.text().lines().find_map(|line| line.strip_prefix("total_reads_processed:"));
        line.unwrap().trim().parse::<i64>().unwrap()
    };
    let before = reads();
    rig.close().unwrap();
    // Each time the server reads, it reads all that was sent together. One after the other would be several times for each.
    let times = reads() - before;
    assert!(times < COUNT / 2, "{times} round trips for {COUNT} consumers");
    assert_eq!(server.command(&["EXISTS", "_kombu.rs.consumers", "_kombu.rs.consumers_of.q1"]).int(), 0);
    drop(channels);
}
