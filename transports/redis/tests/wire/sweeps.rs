//! What is swept, and who may sweep, on a real server.

use std::time::{Duration, SystemTime};

use kombu_core::ExchangeKind;

use super::server::Server;
use crate::binding::member;
use crate::options::RedisOptions;
use crate::scripts::{BindExpiring, SweepBindings, Unlock};

#[test]
fn bindings_that_expire_are_swept_unless_one_does_not() {
    let mut server = Server::with(|options| options.global_keyprefix = "p:".into());
    let keys = server.keys.clone();
    let members = |queue: &str| vec![member(&ExchangeKind::Direct, "k", queue, "|")];
    for (exchange, ttl) in [("gone", 1), ("kept", 1), ("later", 3_600_000)] {
        let bind = BindExpiring { keys: &keys, exchange, ttl: Duration::from_millis(ttl), members: &members("eq") };
        let _: i64 = server.run(&bind.command());
    }
    // A later deadline is not shortened.
    let bind = BindExpiring { keys: &keys, exchange: "later", ttl: Duration::from_millis(1), members: &members("eq2") };
    let _: i64 = server.run(&bind.command());
    let deadline: f64 = server.command(&["ZSCORE", &keys.binding_deadlines(), "later"]);
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_millis() as f64;
    assert!((now + 3_500_000.0..=now + 3_600_001.0).contains(&deadline), "{deadline} {now}");
    let _: i64 = server.command(&["SADD", &keys.binding_permanent("kept"), "k||dq"]);
    std::thread::sleep(Duration::from_millis(5));
    let swept: i64 = server.run(&SweepBindings { keys: &keys }.command());
    assert_eq!(swept, 2);
    let exists: Vec<i64> =
        ["gone", "kept", "later"].map(|exchange| server.command(&["EXISTS", &keys.binding(exchange)])).into();
    assert_eq!(exists, [0, 1, 1]);
    let left: Vec<String> = server.command(&["ZRANGE", &keys.binding_deadlines(), "0", "-1"]);
    assert_eq!(left, ["later"]);
}

#[test]
fn a_lock_is_released_by_its_holder_only() {
    let mut server = Server::start();
    let keys = server.keys.clone();
    let (mine, other) = (Unlock { keys: &keys, token: "mine" }, Unlock { keys: &keys, token: "other" });
    let expire = RedisOptions::default().unacked_mutex_expire;
    assert_eq!(server.run::<Option<String>>(&mine.lock(expire)).as_deref(), Some("OK"));
    assert_eq!(server.run::<Option<String>>(&other.lock(expire)), None);
    let left: i64 = server.command(&["PTTL", "unacked_mutex"]);
    assert!((290_000..=300_000).contains(&left), "{left}");
    assert_eq!(server.run::<i64>(&other.renew(expire)), 0);
    assert_eq!(server.run::<i64>(&mine.renew(2 * expire)), 1);
    let left: i64 = server.command(&["PTTL", "unacked_mutex"]);
    assert!((590_000..=600_000).contains(&left), "{left}");
    assert_eq!(server.run::<i64>(&other.command()), 0);
    assert_eq!(server.run::<i64>(&mine.command()), 1);
    assert_eq!(server.run::<i64>(&mine.renew(expire)), 0);
    assert_eq!(server.run::<Option<String>>(&other.lock(expire)).as_deref(), Some("OK"));
}
