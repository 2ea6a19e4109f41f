//! What a server refuses for now is done once it can be.

use kombu_brokers::{PATIENCE, RedisServer, eventually};
use kombu_core::method::QueueDeclare;
use kombu_core::{ErrorKind, ExchangeKind, Outcome};

use crate::common::{Rig, TestChannel, block_on};

/// Does everything that can be asked of a server while it refuses, and looks at what came of it when it does no longer.
fn through(server: &RedisServer, is_refusing: impl Fn(&RedisServer) -> bool, begin: impl FnOnce(), end: impl FnOnce()) {
    let rig = Rig::new(server);
    let channel = rig.channel();
    channel.exchange("e", ExchangeKind::Direct);
    channel.bind("bound", "e", "k");
    for body in ["acked", "requeued"] {
        channel.publish("", "held", body);
    }
    for queue in ["fetched", "counted"] {
        channel.publish("", queue, "x");
    }
    let (acked, requeued) = (channel.get("held").unwrap(), channel.get("held").unwrap());
    begin();
    assert!(eventually(PATIENCE, || is_refusing(server)), "the server refuses nothing");
    let confirms: Vec<_> = (0..20).map(|number| channel.send("", "q", number.to_string())).collect();
    let routed = channel.send("e", "k", "routed");
    let settles = [channel.channel.basic_ack(acked.tag, false), channel.channel.basic_reject(requeued.tag, true)];
    // On channels of their own: each waits for what was asked of its channel before.
    let asking = |what: fn(&TestChannel)| {
        let channel = rig.channel();
        std::thread::spawn(move || what(&channel))
    };
    let asked = [
        asking(|channel| assert_eq!(channel.queue("counted").message_count, 1)),
        asking(|channel| channel.bind("late", "e", "late")),
        asking(|channel| assert!(channel.get("fetched").is_some())),
        asking(|channel| {
            let passive = QueueDeclare { queue: "nowhere".into(), passive: true, ..QueueDeclare::default() };
            assert_eq!(channel.declare(passive).unwrap_err().kind(), ErrorKind::NotFound);
        }),
        asking(|channel| channel.consume("consumed").wait(1)),
    ];
    // Long enough for each of them to be refused several times.
    std::thread::sleep(std::time::Duration::from_millis(500));
    end();
    let refusals = server.client().command(&["INFO", "errorstats"]).text().to_owned();
    let count = |line: &str| line.split_once(":count=").and_then(|(_, count)| count.trim().parse::<u32>().ok());
    assert!(refusals.lines().filter_map(count).any(|count| count >= 25), "it was over too soon: {refusals}");
    for confirm in confirms.into_iter().chain([routed]) {
        block_on(confirm).unwrap();
    }
    for settle in settles {
        block_on(settle).unwrap();
    }
    channel.publish("", "consumed", "x");
    for asked in asked {
        asked.join().unwrap();
    }
    let bodies: Vec<String> = (0..20)
        .map(|_| {
            let delivery = channel.get("q").unwrap();
            assert!(delivery.envelope.headers.get("x-republished").is_none());
            channel.ack(delivery.tag).unwrap();
            String::from_utf8(delivery.envelope.body.to_vec()).unwrap()
        })
        .collect();
    assert_eq!(bodies, Vec::from_iter((0..20).map(|number| number.to_string())));
    assert_eq!(channel.publish("e", "late", "x"), Some(1));
    let left = ["held", "bound", "late"].map(|queue| server.client().command(&["LLEN", queue]).int());
    assert_eq!(left, [1, 1, 1]);
}

fn says(server: &RedisServer, word: &str) -> bool {
    let answer = server.client().try_command(&["PING"]).unwrap();
    answer.error().is_some_and(|error| error.contains(word))
}

#[test]
fn everything_waits_while_a_script_keeps_the_server_busy() {
    let server = RedisServer::options().args(["--lua-time-limit", "50"]).start();
    let mut busy = server.client();
    let mut other = server.client();
    through(
        &server,
        |server| says(server, "BUSY"),
        || busy.send(&["EVAL", "while true do end", "0"]).unwrap(),
        || {
            other.command(&["SCRIPT", "KILL"]);
            assert!(eventually(PATIENCE, || !says(&server, "BUSY")));
        },
    );
}

#[test]
fn everything_waits_while_the_server_loads_its_data() {
    // A millisecond for each key, and a look at the clients after every few.
    let slow = ["--enable-debug-command", "yes", "--key-load-delay", "1000"];
    let often = ["--loading-process-events-interval-bytes", "1024"];
    let server = RedisServer::options().args(slow).args(often).start();
    let mut loading = server.client();
    loading.command(&["DEBUG", "POPULATE", "6000", "ballast", "100"]);
    through(
        &server,
        |server| says(server, "LOADING"),
        || loading.send(&["DEBUG", "RELOAD"]).unwrap(),
        || assert!(eventually(PATIENCE, || !says(&server, "LOADING"))),
    );
}

/// After a snapshot that failed Redis takes no writes at all, until one succeeds.
#[test]
fn a_server_that_cannot_write_its_snapshot_is_waited_for_and_named() {
    let server = RedisServer::options().args(["--enable-protected-configs", "yes", "--save", "3600 100000"]).start();
    let folder = server.folder().join("snapshots");
    std::fs::create_dir(&folder).unwrap();
    server.command(&["CONFIG", "SET", "dir", folder.to_str().unwrap()]);
    let rig = Rig::new(&server);
    let channel = rig.channel();
    let inbox = channel.consume("q");
    channel.publish("", "q", "held");
    let held = inbox.take(1).remove(0);
    std::fs::remove_dir_all(&folder).unwrap();
    server.command(&["BGSAVE"]);
    let failed = || server.command(&["INFO", "persistence"]).text().contains("rdb_last_bgsave_status:err");
    assert!(eventually(PATIENCE, failed));
    let error = block_on(channel.send("", "q", "refused")).unwrap_err();
    assert_eq!((error.kind(), error.outcome()), (ErrorKind::Overloaded, Some(Outcome::NotSent)));
    assert!(error.to_string().contains("MISCONF"), "{error}");
    let ack = channel.channel.basic_ack(held.tag, false);
    std::fs::create_dir(&folder).unwrap();
    server.command(&["CONFIG", "SET", "dir", folder.to_str().unwrap()]);
    server.command(&["BGSAVE"]);
    assert!(eventually(PATIENCE, || !failed()));
    block_on(ack).unwrap();
    channel.publish("", "q", "after");
    channel.ack(inbox.take(1)[0].tag).unwrap();
    assert!(eventually(PATIENCE, || server.command(&["EXISTS", "q", "unacked"]).int() == 0));
}

/// A replica refuses to write, and executes nothing: what is repeated on the master is the first of its kind.
#[test]
fn what_a_replica_refused_is_no_double() {
    let (server, other) = (RedisServer::start(), RedisServer::start());
    let rig = Rig::new(&server);
    let channel = rig.channel();
    channel.publish("", "q", "first");
    let (host, port) = (other.addr().ip().to_string(), other.port().to_string());
    server.command(&["CONFIG", "SET", "replica-serve-stale-data", "yes"]);
    server.command(&["REPLICAOF", &host, &port]);
    let confirms: Vec<_> = (0..5).map(|number| channel.send("", "p", number.to_string())).collect();
    // Each is refused at least once.
    let is_refused = || server.command(&["INFO", "errorstats"]).text().contains("errorstat_READONLY");
    assert!(eventually(PATIENCE, is_refused));
    server.command(&["REPLICAOF", "NO", "ONE"]);
    for confirm in confirms {
        block_on(confirm).unwrap();
    }
    for number in 0..5 {
        let delivery = channel.get("p").unwrap();
        assert_eq!(&delivery.envelope.body[..], number.to_string().as_bytes());
        assert!(delivery.envelope.headers.get("x-republished").is_none(), "{number}");
        channel.ack(delivery.tag).unwrap();
    }
    assert!(channel.get("p").is_none());
}
