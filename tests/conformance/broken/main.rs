//! The tester is tested: transports and hubs with one promise broken each are caught by exactly the checks named for them.
//!
//! `KOMBU_BROKEN=name` runs one of them alone; `KOMBU_BROKEN_TABLE=1` prints what fails instead of comparing.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

mod arguments;
mod channel;
mod envelope;
mod fault;
mod hub;
mod inside;
mod network;
mod publishing;
mod settling;
mod share;
mod sink;
mod table;
mod world;

use std::collections::BTreeSet;
use std::fmt::Debug;

use kombu_conformance::{Outcome, Report, Suite, checks};

/// The seed of these runs: what is caught must not depend on luck.
const SEED: u64 = 7;

fn memory() -> Suite {
    small(Suite::new(kombu_memory::ENTRY).private_url(|label| format!("memory://{label}")))
}

fn small(suite: Suite) -> Suite {
    // What hangs is caught by turns of the hub in which nothing happens, so patience costs nothing.
    suite.manual_clock().small().jobs(2)
}

fn broken(number: usize) -> Suite {
    let entry = world::entry(number);
    let suite = small(Suite::new(entry).private_url(move |label| format!("{}://{label}", entry.name)));
    match world::fault(number) {
        Some(fault) if table::has_network(fault) => suite.broker(move || Ok(network::start(entry.name, fault))),
        _ => suite,
    }
}

/// Does a child's part, in a process that a check started.
fn serve_child() {
    if network::is_guest() {
        let networks = table::transports().enumerate().filter(|(_, (fault, _))| table::has_network(*fault));
        networks.for_each(|(number, _)| broken(number).serve_child());
    }
}

fn broken_hub(fault: hub::HubFault) -> Suite {
    memory().hub(move |clock| hub::BrokenHub::make(fault, clock))
}

/// Compares what failed with what must fail.
fn compare(fault: &impl Debug, report: &Report, named: &[&str], problems: &mut Vec<String>) {
    let failed: BTreeSet<_> = report.failures().into_iter().collect();
    if std::env::var("KOMBU_BROKEN").is_ok() {
        println!("{}", report.text(kombu_conformance::Format::Text));
    }
    // A check that is skipped, for want of a capability, cannot catch anything.
    let runs = |name: &&str| {
        report
            .results()
            .iter()
            .any(|result| result.check().name() == *name && !matches!(result.outcome(), Outcome::Skipped(_)))
    };
    let named: BTreeSet<_> = named.iter().copied().filter(runs).collect();
    if std::env::var("KOMBU_BROKEN_TABLE").is_ok() {
        println!("TABLE {fault:?} {}", failed.iter().copied().collect::<Vec<_>>().join(" "));
        return;
    }
    for name in named.difference(&failed) {
        problems.push(format!("{fault:?} is not caught by {name}"));
    }
    for name in failed.difference(&named) {
        let why = report
            .results()
            .iter()
            .find(|result| result.check().name() == *name)
            .map(|result| result.outcome().clone());
        problems.push(format!("{fault:?} is caught by {name}, which is not named for it: {why:?}"));
    }
}

fn wanted(fault: &dyn Debug) -> bool {
    std::env::var("KOMBU_BROKEN").map_or(true, |only| format!("{fault:?}") == only)
}

/// Runs the variants whose turn it is among `of`, and returns what is wrong.
fn run_share(share: usize, of: usize) -> Vec<String> {
    let mut problems = Vec::new();
    let mine = |number: usize, fault: &dyn Debug| number % of == share && wanted(fault);
    for (number, (fault, named)) in table::transports().enumerate().filter(|(number, (fault, _))| mine(*number, fault))
    {
        let report = broken(number).check(SEED).unwrap_or_else(|why| panic!("{fault:?}: {why}"));
        compare(&fault, &report, named, &mut problems);
    }
    for (_, (fault, named)) in table::hubs().enumerate().filter(|(number, (fault, _))| mine(*number, fault)) {
        let report = broken_hub(fault).check(SEED).unwrap_or_else(|why| panic!("{fault:?}: {why}"));
        compare(&fault, &report, named, &mut problems);
    }
    problems
}

#[test]
fn each_broken_promise_is_caught_by_the_checks_named_for_it() {
    serve_child();
    if let Some((share, of)) = share::mine() {
        share::print(&run_share(share, of));
        return;
    }
    let problems = share::run_all("each_broken_promise_is_caught_by_the_checks_named_for_it");
    assert!(problems.is_empty(), "\n{}", problems.join("\n"));
}

#[test]
fn every_check_catches_something() {
    let named = table::transports().map(|(_, names)| names).chain(table::hubs().map(|(_, names)| names));
    let caught: BTreeSet<&str> = named.flatten().copied().collect();
    let idle: Vec<_> = checks().iter().map(|check| check.name()).filter(|name| !caught.contains(name)).collect();
    assert_eq!(idle, [""; 0], "these checks catch nothing: break what they promise, in `fault.rs` or `hub.rs`");
    let unknown: Vec<_> = caught.iter().filter(|name| !checks().iter().any(|check| check.name() == **name)).collect();
    assert_eq!(unknown, [&""; 0], "the table names checks that do not exist");
}
