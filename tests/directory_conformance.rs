//! The store of `examples/directory`, 150 lines, keeps every promise of AMQP.

#[path = "../examples/directory/transport.rs"]
mod transport;

use std::process::ExitCode;

use kombu_conformance::Suite;

fn main() -> ExitCode {
    let place = std::env::temp_dir().join(format!("kombu-directory-conformance-{}", std::process::id()));
    let root = place.clone();
    let Ok(suite) = Suite::of("directory") else { return ExitCode::FAILURE };
    let ended = suite.private_url(move |label| format!("directory://{}/{label}", root.display())).manual_clock().main();
    // Nothing may have been made at all.
    _ = std::fs::remove_dir_all(place);
    ended
}
