//! What came of a run, for people and for programs.

mod json;
mod table;
mod tap;
mod text;

use std::collections::{BTreeMap, BTreeSet};
use std::io::IsTerminal;
use std::str::FromStr;

use kombu_core::Support;

use crate::outcome::{CheckResult, Outcome};

pub(crate) use self::table::Table;
pub(crate) use self::text::line;

/// What a report looks like.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Format {
    /// For a terminal.
    #[default]
    Text,
    /// A table of promises, without times, seeds and versions: to be committed.
    Markdown,
    /// One object.
    Json,
    /// The Test Anything Protocol.
    Tap,
}

impl Format {
    /// Shows that a check ended: to whoever waits at a terminal, and beside a report for programs.
    pub(crate) fn progress(self, line: &str) {
        if self != Format::Text || std::io::stderr().is_terminal() {
            eprintln!("{line}");
        }
    }
}

impl FromStr for Format {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        match name {
            "text" => Ok(Format::Text),
            "md" | "markdown" => Ok(Format::Markdown),
            "json" => Ok(Format::Json),
            "tap" => Ok(Format::Tap),
            other => Err(format!("--report is text, md, json or tap, not `{other}`")),
        }
    }
}

/// What came of a run.
#[derive(Clone, Debug)]
pub struct Report {
    transport: &'static str,
    broker: String,
    seed: u64,
    results: Vec<CheckResult>,
    reasons: BTreeMap<&'static str, &'static str>,
}

/// How many checks ended how.
#[derive(Clone, Copy, Debug, Default)]
struct Count {
    native: usize,
    emulated: usize,
    failed: usize,
    skipped: usize,
    known: usize,
    not_run: usize,
}

impl Report {
    pub(crate) fn new(
        transport: &'static str,
        broker: String,
        seed: u64,
        results: Vec<CheckResult>,
        reasons: BTreeMap<&'static str, &'static str>,
    ) -> Self {
        Report { transport, broker, seed, results, reasons }
    }

    /// Returns the transport's name.
    pub fn transport(&self) -> &'static str {
        self.transport
    }

    /// Returns every check and how it ended, in the suite's order.
    pub fn results(&self) -> &[CheckResult] {
        &self.results
    }

    /// Returns the names of the checks that failed.
    pub fn failures(&self) -> Vec<&'static str> {
        self.results.iter().filter(|result| result.is_failure()).map(|result| result.check.name).collect()
    }

    /// Returns 0 when every promise that is made is kept, 1 when one is not, 2 when none was looked at.
    pub fn exit_code(&self) -> u8 {
        let count = self.count();
        if count.failed > 0 {
            1
        } else if self.results.is_empty() {
            2
        } else {
            0
        }
    }

    /// Returns the report in a format.
    pub fn text(&self, format: Format) -> String {
        match format {
            Format::Text => text::text(self),
            Format::Markdown => Table::of(self).to_string(),
            Format::Json => json::json(self),
            Format::Tap => tap::tap(self),
        }
    }

    /// Returns one table of several runs, a column each.
    pub fn table(reports: &[&Report]) -> String {
        reports.iter().fold(Table::default(), |table, report| table.with(Table::of(report))).to_string()
    }

    /// Returns why a capability is not declared, if the harness gives a reason.
    pub(crate) fn reason(&self, capability: &str) -> Option<&'static str> {
        self.reasons.get(capability).copied()
    }

    /// Returns the capabilities that are not declared, a check was skipped for, and no reason is given for.
    pub(crate) fn without_reason(&self) -> BTreeSet<&str> {
        let skipped = self.results.iter().filter_map(|result| match &result.outcome {
            Outcome::Skipped(why) => Some(missing(why)),
            _ => None,
        });
        skipped.filter(|capability| self.reason(capability).is_none()).collect()
    }

    fn count(&self) -> Count {
        let mut count = Count::default();
        for result in &self.results {
            *match result.outcome {
                Outcome::Passed(Support::Emulated) => &mut count.emulated,
                Outcome::Passed(_) => &mut count.native,
                Outcome::Failed(_) => &mut count.failed,
                Outcome::Skipped(_) => &mut count.skipped,
                Outcome::NotRun(_) => &mut count.not_run,
                Outcome::KnownFailure(_) => &mut count.known,
            } += 1;
        }
        count
    }
}

/// Returns the capability of which a SKIP says that it is not declared.
fn missing(why: &str) -> &str {
    why.strip_prefix("not declared: ").and_then(|rest| rest.split(' ').next()).unwrap_or_default()
}
