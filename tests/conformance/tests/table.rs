//! Writes CONFORMANCE.md: every promise on memory, redis and amqp, on real brokers.

use std::process::ExitCode;

use kombu_conformance::{Format, Report, Suite};

#[path = "targets/amqp.rs"]
mod amqp;
#[path = "targets/memory.rs"]
mod memory;
#[path = "targets/redis.rs"]
mod redis;

/// Why a capability is not declared: transport, capability, reason.
const REASONS: &[(&str, &str, &str)] = &[
    ("memory", "multi_process", "its queues live in the memory of one process"),
    ("memory", "persistent", "its queues live in the memory of one process and end with it"),
    ("memory", "durable", "its queues live in the memory of one process and end with it"),
    ("memory", "recovery", "there is no link that could be lost"),
    (
        "redis",
        "topology_registry",
        "on Kombu's wire an empty queue and an exchange leave no key, and a push must create the list",
    ),
    ("redis", "exclusive", "clients that know nothing of our registry cannot be kept out"),
    ("redis", "auto_delete", "an empty list does not exist, so that its end cannot be told from its being empty"),
    ("redis", "fanout_stored", "PUB/SUB reaches who listens; the option `fanout_stored` keeps messages as well"),
    (
        "amqp",
        "delayed",
        "the broker has it by a plugin, `rabbitmq_delayed_message_exchange`, which is not installed here",
    ),
];

fn reason(transport: &str, capability: &str) -> Option<String> {
    let found = REASONS.iter().find(|(name, known, _)| *name == transport && *known == capability);
    found.map(|(_, _, reason)| (*reason).to_owned())
}

fn main() -> ExitCode {
    let suites = || -> kombu_core::Result<Vec<Suite>> { Ok(vec![memory::suite(), redis::suite()?, amqp::suite()?]) };
    let suites = match suites() {
        Ok(suites) => suites,
        Err(error) => return failed(&error.to_string()),
    };
    suites.iter().for_each(Suite::serve_child);
    let mut reports = Vec::new();
    for suite in suites {
        match suite.check(1) {
            Ok(report) if report.exit_code() == 0 => reports.push(report),
            Ok(report) => return failed(&report.text(Format::Text)),
            Err(why) => return failed(&why),
        }
    }
    let table = Report::table(&reports.iter().collect::<Vec<_>>(), reason);
    print!("{HEAD}{table}");
    ExitCode::SUCCESS
}

fn failed(why: &str) -> ExitCode {
    eprintln!("error: CONFORMANCE.md is not written, for not every promise is kept:\n{why}");
    ExitCode::FAILURE
}

const HEAD: &str = "\
# What each transport promises, and keeps

Written by `scripts/generated --write` from a run of `kombu-conformance` on real brokers; do not edit. *native*: the broker does it.
*emulated*: the transport does it for the broker. *yes*: every transport must. *no*: it is not declared, and core refuses what would
need it. *known failure*: it is declared and not kept yet. *not run*: there is nothing to do it to.
`cargo test -p kombu-conformance --test redis -- --explain NAME` says more of a check.
";
