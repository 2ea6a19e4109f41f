//! What came of a run, for people and for programs.

mod json;
mod markdown;
mod tap;
mod text;

use std::str::FromStr;

use kombu_core::Support;

use crate::outcome::{CheckResult, Outcome};

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
    /// Shows that a check ended, where the format has room for it.
    pub(crate) fn progress(self, line: &str) {
        if self != Format::Text {
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
    pub(crate) fn new(transport: &'static str, broker: String, seed: u64, results: Vec<CheckResult>) -> Self {
        Report { transport, broker, seed, results }
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
            Format::Markdown => markdown::table(&[self], |_, _| None),
            Format::Json => json::json(self),
            Format::Tap => tap::tap(self),
        }
    }

    /// Returns one table of several runs, a column each, with a note for what is not declared: its written reason, by transport
    /// and capability.
    pub fn table(reports: &[&Report], reason: impl Fn(&str, &str) -> Option<String>) -> String {
        markdown::table(reports, reason)
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
