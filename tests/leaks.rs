//! What is closed is gone, also from a hub that goes on.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on stops")]

use std::alloc::System;

use kombu::prelude::*;
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

const CONNECTIONS: usize = 100;

/// Opens and closes connections on one hub; returns by how many bytes the process has grown since it began.
fn open_and_close(hub: &Hub) -> isize {
    let region = Region::new(ALLOCATOR);
    for _ in 0..CONNECTIONS {
        let connection = Connection::new("memory://leaks").unwrap();
        connection.register_with_event_loop(hub).unwrap();
        connection.connect().wait().unwrap();
        connection.close().wait().unwrap();
        drop(connection);
        // What a connection leaves for its hub to do.
        hub.run_once(Some(std::time::Duration::ZERO)).unwrap();
    }
    let change = region.change();
    change.bytes_allocated as isize - change.bytes_deallocated as isize
}

#[test]
fn a_closed_connection_leaves_nothing_on_its_hub() {
    let hub = Hub::new().unwrap();
    // Tables and buffers grow to the size they need.
    open_and_close(&hub);
    let grown = open_and_close(&hub);
    assert!(grown < CONNECTIONS as isize * 50, "{} bytes per connection", grown / CONNECTIONS as isize);
}
