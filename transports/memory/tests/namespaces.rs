//! Connections of one process share a broker by host, port and path.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on stops")]

mod common;

use common::{Lane, connect, wait};
use kombu_core::{Priority, PriorityOrder, registry};

fn lane(url: &str) -> Lane {
    Lane(wait(connect(url).channel()).unwrap())
}

#[test]
fn the_same_place_is_the_same_broker() {
    lane("memory://shared-place/v").queue("q");
    lane("memory://user:secret@shared-place/v?polling_interval=1").fill("q", 0..2);
    assert_eq!(lane("memory://shared-place/v").drain("q"), ["0", "1"]);
    lane("memory://").queue("default-place");
    assert_eq!(lane("memory://").publish("", "default-place", "x"), 1);
}

#[test]
fn another_place_is_another_broker() {
    lane("memory://place").queue("q");
    for url in ["memory://", "memory:///place", "memory://place/v", "memory://place:1", "memory://other"] {
        assert_eq!(lane(url).publish("", "q", "x"), 0, "{url}");
    }
    assert_eq!(lane("memory://place").publish("", "q", "x"), 1);
}

#[test]
fn the_registry_knows_it() {
    let entry = registry::find("memory").unwrap();
    assert_eq!((entry.name, entry.schemes), ("memory", &["memory"][..]));
    kombu_memory::register();
    assert_eq!(registry::find("memory").unwrap().name, "memory");
}

#[test]
fn capabilities_say_what_holds() {
    let can = connect("memory://").capabilities();
    let missing: Vec<_> =
        can.supports().into_iter().filter(|(_, support)| !support.is_available()).map(|(name, _)| name).collect();
    // What only something outside the process can give.
    assert_eq!(missing, ["durable", "persistent", "multi_process", "heartbeats", "recovery"]);
    assert_eq!(can.priority, Some(Priority { levels: 255, order: PriorityOrder::HighFirst }));
    assert_eq!((can.restore_after_crash, can.max_body), (None, None));
    assert!(!can.deliveries_survive_reconnect);
}
