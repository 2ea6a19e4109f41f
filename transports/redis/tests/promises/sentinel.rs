//! Sentinels say where the master is, before and after a failover.

use kombu_brokers::{CertificateAuthority, PATIENCE, RedisServer, eventually};
use kombu_core::{Confirmation, Error, ErrorKind, FieldTable, Value};

use crate::common::{Rig, block_on, bodies, options};
use crate::failover::{confirmed, everything_outlives, policies_outlive, replicated};

/// A master, its replica, and three sentinels.
struct Watched {
    servers: Vec<RedisServer>,
    sentinels: Vec<RedisServer>,
}

const NAME: &str = "orders";

impl Watched {
    fn start() -> Self {
        Watched::with_replicas(1)
    }

    fn with_replicas(count: usize) -> Self {
        let master = RedisServer::options().appendonly().start();
        let replica = |_| RedisServer::options().appendonly().replica_of(master.addr()).start();
        let replicas: Vec<RedisServer> = (0..count).map(replica).collect();
        let sentinel = || RedisServer::options().sentinel(NAME, master.addr(), 2).start();
        let sentinels: Vec<RedisServer> = (0..3).map(|_| sentinel()).collect();
        let servers = std::iter::once(master).chain(replicas).collect();
        let watched = Watched { servers, sentinels };
        let knows = |sentinel: &RedisServer| {
            let facts = sentinel.command(&["SENTINEL", "MASTER", NAME]);
            let facts = facts.texts();
            let fact = |name: &str| facts.iter().position(|fact| *fact == name).map(|at| facts[at + 1]);
            fact("num-other-sentinels") == Some("2") && fact("num-slaves") == Some(&*count.to_string())
        };
        let ready = eventually(PATIENCE, || watched.sentinels.iter().all(knows));
        assert!(ready, "{}", watched.sentinels[0].log());
        let linked =
            |server: &RedisServer| server.command(&["INFO", "replication"]).text().contains("master_link_status:up");
        assert!(eventually(PATIENCE, || watched.servers[1..].iter().all(linked)));
        watched
    }

    fn url(&self) -> String {
        let urls: Vec<String> = self.sentinels.iter().map(|one| format!("sentinel://{}", one.addr())).collect();
        format!("{}/0", urls.join(";"))
    }

    fn connect(&self, more: FieldTable) -> Result<Rig, Error> {
        let mut table = options([("master_name", NAME)]);
        table.extend(more);
        Rig::try_at(&self.url(), table)
    }
}

#[test]
fn consumers_and_publishers_move_to_the_new_master_and_confirmed_messages_with_them() {
    let mut watched = Watched::start();
    let rig = watched.connect(FieldTable::new()).unwrap();
    everything_outlives(&rig.channel(), || {
        // What the master confirmed and its replica has is what a failover keeps.
        replicated(&watched.servers[0], "mark");
        watched.servers[0].kill();
    });
    // The connection kept for the test's eyes was ended with all others.
    let mut client = watched.servers[1].client();
    assert!(client.command(&["INFO", "replication"]).text().contains("role:master"));
    assert_eq!(client.command(&["HLEN", "unacked"]).int(), 0);
}

#[test]
fn queues_do_on_the_new_master_what_they_were_declared_to_do() {
    for topology in ["kombu", "registry"] {
        let mut watched = Watched::start();
        let rig = watched.connect(options([("topology", topology)])).unwrap();
        policies_outlive(&rig.channel(), || {
            replicated(&watched.servers[0], "mark");
            watched.servers[0].kill();
        });
    }
}

#[test]
fn what_a_replica_confirmed_outlives_its_master() {
    let mut watched = Watched::with_replicas(2);
    let rig = watched.connect(options([("confirm", "wait(1)")])).unwrap();
    let channel = rig.channel();
    let mut under_way = std::collections::VecDeque::new();
    let mut confirmed = 0;
    for number in 0..600 {
        under_way.push_back(channel.send("", "q", format!("{number}")));
        if number == 300 {
            watched.servers[0].kill();
        }
        if under_way.len() > 50 {
            let confirm = under_way.pop_front().unwrap();
            assert!(matches!(block_on(confirm).unwrap(), Confirmation::Confirmed { queues: Some(1) }));
            confirmed += 1;
        }
    }
    for confirm in under_way {
        assert!(matches!(block_on(confirm).unwrap(), Confirmation::Confirmed { queues: Some(1) }));
        confirmed += 1;
    }
    assert_eq!(confirmed, 600);
    let inbox = channel.consume("q");
    let mut seen = std::collections::BTreeMap::<String, u32>::new();
    while seen.len() < 600 {
        for delivery in inbox.take(1) {
            let is_marked = delivery.envelope.headers.get("x-republished").is_some();
            let count = seen.entry(bodies(std::slice::from_ref(&delivery)).remove(0)).or_default();
            *count += 1;
            assert!(*count == 1 || is_marked || delivery.redelivered, "a double that does not say so");
            channel.ack(delivery.tag).unwrap();
        }
    }
}

#[test]
fn a_master_that_becomes_a_replica_is_left() {
    let watched = Watched::start();
    let rig = watched.connect(FieldTable::new()).unwrap();
    let channel = rig.channel();
    let inbox = channel.consume("q");
    channel.publish("", "q", "before");
    assert_eq!(bodies(&inbox.take(1)), ["before"]);
    watched.sentinels[0].command(&["SENTINEL", "FAILOVER", NAME]);
    confirmed((0..20).map(|number| channel.send("", "q", number.to_string())).collect());
    // A sentinel ends the connections of the server whose role it changes: asked again, it answers.
    let says = |server: &RedisServer, what: &[&str], word: &str| {
        server.client().try_command(what).is_ok_and(|reply| reply.text().contains(word))
    };
    assert!(eventually(PATIENCE, || says(&watched.servers[1], &["INFO", "replication"], "role:master")));
    channel.publish("", "q", "after");
    assert!(eventually(PATIENCE, || inbox.len() > 0));
    assert!(eventually(PATIENCE, || says(&watched.servers[1], &["CLIENT", "LIST"], " flags=b ")));
}

#[test]
fn a_read_only_answer_leads_to_the_new_master() {
    let watched = Watched::start();
    let rig = watched.connect(FieldTable::new()).unwrap();
    let channel = rig.channel();
    channel.publish("", "q", "before");
    replicated(&watched.servers[0], "mark");
    for sentinel in &watched.sentinels {
        sentinel.command(&["SENTINEL", "REMOVE", NAME]);
    }
    // By hand, so that no sentinel ends connections and the servers' answers are all there is.
    let (ip, port) = ("127.0.0.1", watched.servers[1].port().to_string());
    watched.servers[1].command(&["REPLICAOF", "NO", "ONE"]);
    watched.servers[0].command(&["REPLICAOF", ip, &port]);
    for sentinel in &watched.sentinels {
        sentinel.command(&["SENTINEL", "MONITOR", NAME, ip, &port, "2"]);
    }
    assert_eq!(channel.publish("", "q", "after"), Some(1));
    assert_eq!(watched.servers[1].command(&["LLEN", "q"]).int(), 2);
}

#[test]
fn what_the_sentinels_say_is_said_when_they_cannot_help() {
    let watched = Watched::start();
    let failure = |more: FieldTable| {
        let Err(error) = watched.connect(more) else { panic!("there is such a master") };
        error
    };
    let error = failure(options([("master_name", "other")]));
    assert_eq!(error.kind(), ErrorKind::ConnectionLost);
    assert!(error.to_string().contains("no master of that name"), "{error}");
    let error = failure(options([("min_other_sentinels", 3)]));
    assert!(error.to_string().contains("`min_other_sentinels` is 3"), "{error}");
    let rig = watched.connect(options([("min_other_sentinels", 2)])).unwrap();
    rig.channel().publish("", "q", "x");
}

#[test]
fn sentinels_have_passwords_of_their_own() {
    let master = RedisServer::options().requirepass("masters").start();
    let sentinel = RedisServer::options().sentinel(NAME, master.addr(), 1).start();
    sentinel.command(&["SENTINEL", "SET", NAME, "auth-pass", "masters"]);
    sentinel.command(&["ACL", "SETUSER", "asker", "on", ">sentinels", "~*", "&*", "+@all"]);
    sentinel.command(&["ACL", "SETUSER", "default", "off"]);
    let url = format!("sentinel://:masters@{}/0", sentinel.addr());
    let table = |password: &str| {
        let kwargs = options([("username", "asker"), ("password", password)]);
        FieldTable::from([("master_name", Value::from(NAME)), ("sentinel_kwargs", Value::Map(kwargs))])
    };
    let Err(error) = Rig::try_at(&url, table("hush")) else { panic!("any password will do") };
    assert_eq!(error.kind(), ErrorKind::AccessRefused, "{error}");
    assert!(!format!("{error} {error:?}").contains("hush"), "{error:?}");
    assert_eq!(Rig::try_at(&url, table("sentinels")).unwrap().channel().publish("", "q", "x"), Some(1));
}

#[test]
fn a_sentinel_that_is_away_is_passed_over() {
    let mut watched = Watched::start();
    watched.sentinels[0].kill();
    watched.connect(FieldTable::new()).unwrap().channel().publish("", "q", "x");
}

#[test]
fn sentinels_are_asked_in_secret() {
    let master = RedisServer::start();
    let authority = CertificateAuthority::new("Test Authority");
    let identity = authority.server(&["127.0.0.1"]);
    let sentinel = RedisServer::options().sentinel(NAME, master.addr(), 1).tls(&authority, &identity, false).start();
    let url = format!("sentinel://{}/0", sentinel.tls_addr().unwrap());
    let table = |kwargs: FieldTable| {
        FieldTable::from([("master_name", Value::from(NAME)), ("sentinel_kwargs", Value::Map(kwargs))])
    };
    let mut kwargs = options([("ssl_ca_data", authority.certificate())]);
    kwargs.insert("ssl", true);
    assert_eq!(Rig::try_at(&url, table(kwargs)).unwrap().channel().publish("", "q", "x"), Some(1));
    let Err(error) = Rig::try_at(&url, table(options([("ssl", true)]))) else { panic!("anybody is trusted") };
    assert_eq!(error.kind(), ErrorKind::AccessRefused, "{error}");
    assert!(error.to_string().contains("ssl_ca_certs"), "{error}");
}

#[test]
fn the_master_is_talked_to_in_secret_where_the_sentinels_say() {
    let authority = CertificateAuthority::new("Test Authority");
    let identity = authority.server(&["127.0.0.1"]);
    let master = RedisServer::options().tls(&authority, &identity, false).start();
    let addr = master.tls_addr().unwrap();
    let sentinel = RedisServer::options().sentinel(NAME, addr, 1).tls(&authority, &identity, false);
    let sentinel = sentinel.args(["--tls-replication", "yes"]).start();
    let secret = options([("ssl_ca_data", authority.certificate())]);
    let mut kwargs = secret.clone();
    kwargs.insert("ssl", true);
    let mut table = FieldTable::from([("master_name", Value::from(NAME)), ("sentinel_kwargs", Value::Map(kwargs))]);
    table.insert("ssl", Value::Map(secret));
    let url = format!("sentinel://{}/0", sentinel.tls_addr().unwrap());
    let rig = Rig::try_at(&url, table).unwrap();
    assert_eq!(rig.channel().publish("", "q", "x"), Some(1));
    assert_eq!(master.command(&["LLEN", "q"]).int(), 1);
}
