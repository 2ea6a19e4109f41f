//! memory, by a clock that is turned by hand.

use kombu_conformance::Suite;

pub(crate) fn suite() -> Suite {
    Suite::new(kombu_memory::ENTRY).private_url(|label| format!("memory://{label}")).manual_clock()
}
