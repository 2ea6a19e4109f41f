//! Writes CONFORMANCE.md: every promise on memory, redis and amqp, on real brokers.

use std::process::ExitCode;

use kombu_conformance::{Format, Report, Suite};

#[path = "targets/amqp.rs"]
mod amqp;
#[path = "targets/memory.rs"]
mod memory;
#[path = "targets/published.rs"]
mod published;
#[path = "targets/redis.rs"]
mod redis;

fn main() -> ExitCode {
    let suites = || -> kombu_core::Result<Vec<Suite>> {
        Ok(vec![memory::suite(), redis::suite()?, redis::suite_with_options()?, amqp::suite()?])
    };
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
    print!("{}{}", published::HEAD, Report::table(&reports.iter().collect::<Vec<_>>()));
    ExitCode::SUCCESS
}

fn failed(why: &str) -> ExitCode {
    eprintln!("error: CONFORMANCE.md is not written, for not every promise is kept:\n{why}");
    ExitCode::FAILURE
}
