//! CONFORMANCE.md, against which every whole run is held.

use kombu_conformance::Suite;

/// Holds `suite` against its column.
#[allow(dead_code, reason = "the generator only needs what stands above the table")]
pub(crate) fn published(suite: Suite) -> Suite {
    suite.published(concat!(env!("CARGO_MANIFEST_DIR"), "/../../CONFORMANCE.md"), HEAD)
}

pub(crate) const HEAD: &str = "\
# What each transport promises, and keeps

Written by `scripts/generated --write` from runs of `kombu-conformance` on real brokers; do not edit. Every run of the suites is
held against it. *native*: the broker does it. *emulated*: the transport does it for the broker. *yes*: every transport must.
*no*: it is not declared, for the reason in the note, and core refuses what would need it. *known failure*: it is declared and not
kept yet. *not run*: there is nothing to do it to. *redis* is Redis on Kombu's keys, beside programs in Python; *redis+options* has
those options on that need every program to be ours.
`cargo test -p kombu-conformance --test redis -- --explain NAME` says more of a check.
";
