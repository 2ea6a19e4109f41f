//! memory, by a clock that is turned by hand.

use kombu_conformance::Suite;

const ENDS: &str = "its queues live in the memory of one process and end with it";

pub(crate) fn suite() -> Suite {
    Suite::new(kombu_memory::ENTRY)
        .private_url(|label| format!("memory://{label}"))
        .manual_clock()
        .reason("multi_process", ENDS)
        .reason("persistent", ENDS)
        .reason("durable", ENDS)
        .reason("recovery", "there is no link that could be lost")
}
