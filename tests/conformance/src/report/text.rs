//! The report for a terminal.

use std::fmt::Write;

use super::Report;
use crate::check::Group;
use crate::outcome::{CheckResult, Outcome};

/// Returns one line, and what is to say about it.
pub(crate) fn line(result: &CheckResult) -> String {
    let (name, took) = (result.check.name, result.took.as_millis());
    match &result.outcome {
        Outcome::Passed(_) => format!("PASS     {name:<44} {took:>6} ms"),
        Outcome::Failed(why) => format!("FAIL     {name:<44} {took:>6} ms\n               {why}"),
        Outcome::Skipped(why) => format!("SKIP     {name:<44} {why}"),
        Outcome::NotRun(why) => format!("NOT RUN  {name:<44} {why}"),
        Outcome::KnownFailure(why) => format!("KNOWN    {name:<44} {why}"),
    }
}

pub(super) fn text(report: &Report) -> String {
    let mut text = String::new();
    // Writing to a string does not fail.
    let _ = writeln!(
        text,
        "conformance of `{}` against {}, seed {}, {} checks",
        report.transport,
        report.broker,
        report.seed,
        report.results.len()
    );
    let mut group: Option<Group> = None;
    for result in &report.results {
        if group != Some(result.check.group) {
            group = Some(result.check.group);
            let _ = writeln!(text, "\n  {}", result.check.group.name());
        }
        let _ = writeln!(text, "    {}", line(result));
        if result.is_failure() {
            let check = result.check;
            let _ = writeln!(text, "               promise: {}", check.promise);
            let spec = if check.spec.is_empty() { "AMQP 0-9-1" } else { check.spec };
            let _ =
                writeln!(text, "               spec: {spec}   re-run: --exact {} --seed {}", check.path(), report.seed);
        }
    }
    let count = report.count();
    let _ = writeln!(
        text,
        "\n  {} passed ({} native, {} emulated), {} failed, {} not declared, {} known failures, {} not run",
        count.native + count.emulated,
        count.native,
        count.emulated,
        count.failed,
        count.skipped,
        count.known,
        count.not_run
    );
    text
}
