//! Ctrl-C ends the loop cleanly.
#![cfg(feature = "signal")]
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

use kombu_hub::MioHub;

#[test]
fn the_first_signal_stops_the_loop() {
    let hub = MioHub::new().unwrap();
    hub.stop_on_signals().unwrap();
    hub.call_soon(|_| signal_hook::low_level::raise(signal_hook::consts::SIGINT).unwrap());
    hub.run_forever().unwrap();
    assert!(!hub.is_closed());
}
