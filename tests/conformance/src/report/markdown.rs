//! The report as a table to be committed: no times, seeds or versions.

use std::collections::BTreeMap;
use std::fmt::Write;

use kombu_core::Support;

use super::Report;
use crate::check::Group;
use crate::outcome::{CheckResult, Outcome};

pub(super) fn table(reports: &[&Report], reason: impl Fn(&str, &str) -> Option<String>) -> String {
    let mut text = String::new();
    let Some(first) = reports.first() else { return text };
    let mut notes: BTreeMap<String, usize> = BTreeMap::new();
    let mut listed: Vec<String> = Vec::new();
    let mut group: Option<Group> = None;
    for result in &first.results {
        // Writing to a string does not fail.
        if group != Some(result.check.group) {
            group = Some(result.check.group);
            let names: Vec<_> = reports.iter().map(|report| report.transport).collect();
            let _ = writeln!(text, "\n## {}\n", result.check.group.name());
            let _ = writeln!(text, "| check | promise | {} |", names.join(" | "));
            let _ = writeln!(text, "|---|---{}|", "|---".repeat(names.len()));
        }
        let cells: Vec<_> = reports
            .iter()
            .map(|report| {
                let found = report.results.iter().find(|other| other.check.name == result.check.name);
                found.map_or_else(|| "–".to_owned(), |found| cell(report, found, &reason, &mut notes, &mut listed))
            })
            .collect();
        let check = result.check;
        let _ = writeln!(text, "| `{}` | {} | {} |", check.name, check.promise, cells.join(" | "));
    }
    if !listed.is_empty() {
        text.push_str("\n## Notes\n\n");
        for (number, note) in (1..).zip(&listed) {
            let _ = writeln!(text, "{number}. {note}");
        }
    }
    text
}

fn cell(
    report: &Report,
    result: &CheckResult,
    reason: &impl Fn(&str, &str) -> Option<String>,
    notes: &mut BTreeMap<String, usize>,
    listed: &mut Vec<String>,
) -> String {
    let mut note = |text: String| {
        *notes.entry(text.clone()).or_insert_with(|| {
            listed.push(text);
            listed.len()
        })
    };
    match &result.outcome {
        Outcome::Passed(_) if result.check.needs.iter().all(|need| need.is_hook()) => "yes".to_owned(),
        Outcome::Passed(Support::Emulated) => "emulated".to_owned(),
        Outcome::Passed(_) => "native".to_owned(),
        Outcome::Failed(_) => "**FAILS**".to_owned(),
        Outcome::Skipped(why) => {
            let capability = why.strip_prefix("not declared: ").and_then(|rest| rest.split(' ').next()).unwrap_or("");
            let text = reason(report.transport, capability).unwrap_or_else(|| "no reason is given".to_owned());
            format!("no [{}]", note(format!("{}, `{capability}`: {text}", report.transport)))
        }
        Outcome::NotRun(why) => format!("not run [{}]", note(format!("{}: {why}", report.transport))),
        Outcome::KnownFailure(why) => {
            let noted = why.split(": ").next().unwrap_or("");
            format!("known failure [{}]", note(format!("{}: {noted}", report.transport)))
        }
    }
}
