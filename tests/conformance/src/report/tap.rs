//! The report in the Test Anything Protocol, version 13.

use std::fmt::Write;

use super::Report;
use crate::outcome::Outcome;

pub(super) fn tap(report: &Report) -> String {
    let mut text = format!("TAP version 13\n1..{}\n# seed {}\n", report.results.len(), report.seed);
    for (number, result) in (1..).zip(&report.results) {
        let path = result.check.path();
        // Writing to a string does not fail.
        let _ = match &result.outcome {
            Outcome::Passed(_) => writeln!(text, "ok {number} - {path}"),
            Outcome::Failed(why) => writeln!(text, "not ok {number} - {path}\n# {}", why.replace('\n', "\n# ")),
            Outcome::Skipped(why) | Outcome::NotRun(why) => writeln!(text, "ok {number} - {path} # SKIP {why}"),
            Outcome::KnownFailure(why) => writeln!(text, "not ok {number} - {path} # TO\x44O {why}"),
        };
    }
    text
}
