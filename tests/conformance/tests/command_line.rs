//! What the suite's programs answer: exit codes, lists, reports, and the table they are held against.
#![allow(clippy::expect_used, reason = "a test that cannot go on stops")]

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Output};
use std::rc::Rc;

use kombu_conformance::Suite;
use kombu_core::hub::Hub;
use kombu_hub::MioHub;

/// Makes this program the suite of that name.
const SUITE: &str = "KOMBU_COMMAND_LINE_SUITE";
const TABLE: &str = "KOMBU_COMMAND_LINE_TABLE";
const HEAD: &str = "# A table\n";

fn main() -> ExitCode {
    if let Ok(name) = std::env::var(SUITE) {
        return suite(&name).main();
    }
    if std::env::args().any(|argument| argument == "--list") {
        println!("command_line: test");
        return ExitCode::SUCCESS;
    }
    exit_codes();
    lists_and_explanations();
    reports();
    table();
    println!("the command line does what it says");
    ExitCode::SUCCESS
}

fn memory() -> Suite {
    Suite::new(kombu_memory::ENTRY).private_url(|label| format!("memory://{label}")).manual_clock().small()
}

fn suite(name: &str) -> Suite {
    match name {
        "kept" => memory(),
        "broken" => memory().hub(|clock| {
            let one_a_tick = MioHub::builder().clock(clock).timers_per_tick(1).build();
            one_a_tick.map(|hub| Rc::new(hub) as Rc<dyn Hub>)
        }),
        "known to fail" => memory().known_failure("topic_table", "noted elsewhere"),
        "nowhere" => Suite::new(kombu_memory::ENTRY).url_from_env("KOMBU_COMMAND_LINE_NO_SUCH_VARIABLE"),
        "unreachable" => Suite::new(kombu_memory::ENTRY).url("memory://somewhere?malformed_limit=many"),
        _ => {
            let ends = "its queues end with the process";
            let table = std::env::var_os(TABLE).map(PathBuf::from).unwrap_or_default();
            let suite = memory().reason("multi_process", ends).reason("persistent", ends).reason("durable", ends);
            suite.reason("recovery", "it has no link").published(table, HEAD)
        }
    }
}

fn run(suite: &str, arguments: &[&str], environment: &[(&str, &str)]) -> (Option<i32>, String) {
    let program = std::env::current_exe().expect("this program has a path");
    let mut command = Command::new(program);
    command.args(arguments).env(SUITE, suite).env_remove("KOMBU_CONFORMANCE").env_remove("KOMBU_CONFORMANCE_WRITE");
    let Output { status, stdout, stderr } =
        command.envs(environment.iter().copied()).output().expect("this program can be started");
    (status.code(), format!("{}{}", String::from_utf8_lossy(&stdout), String::from_utf8_lossy(&stderr)))
}

fn says(ran: (Option<i32>, String), code: i32, texts: &[&str]) {
    let (ended, text) = ran;
    assert_eq!(ended, Some(code), "{text}");
    for part in texts {
        assert!(text.contains(part), "`{part}` is not in\n{text}");
    }
}

fn exit_codes() {
    says(run("kept", &["--exact", "topic_table", "--seed", "42"], &[]), 0, &["1 passed", "seed 42"]);
    says(
        run("broken", &["timers_all_due"], &[]),
        1,
        &["FAIL", "1 failed", "--exact hub::timers_all_due_in_a_tick --seed "],
    );
    says(run("known to fail", &["topic"], &[]), 1, &["noted elsewhere", "take it off the list"]);
    says(run("nowhere", &[], &[]), 2, &["could not run", "KOMBU_COMMAND_LINE_NO_SUCH_VARIABLE"]);
    says(run("nowhere", &[], &[("KOMBU_CONFORMANCE", "optional")]), 0, &["SKIPPED, ALL OF IT"]);
    says(run("unreachable", &[], &[]), 2, &["could not run", "malformed_limit"]);
    says(run("kept", &["--exact", "topic"], &[]), 2, &["no check is called topic"]);
    says(run("kept", &["--sed", "3"], &[]), 2, &["unknown argument `--sed`"]);
    says(run("kept", &["--report", "pdf"], &[]), 2, &["pdf"]);
}

fn lists_and_explanations() {
    says(run("kept", &["--list", "topic"], &[]), 0, &["routing::topic_table: test", "1 checks"]);
    let (_, ignored) = run("kept", &["--list", "--format", "terse", "--ignored"], &[]);
    assert!(ignored.lines().all(|line| line.ends_with(": test")), "{ignored}");
    assert!(
        ignored.contains("lifecycle::link_cut_resumes_publishing") && !ignored.contains("topic_table"),
        "{ignored}"
    );
    says(run("kept", &["--explain", "topic_table"], &[]), 0, &["promise", "steps", "reference", "spec", "needs"]);
    says(run("kept", &["--stress", "3", "--exact", "ack_removes"], &[]), 0, &["3 passed"]);
    says(run("kept", &["--skip", "o", "--skip", "e"], &[]), 2, &["no check is called"]);
}

fn reports() {
    let report = |format| run("kept", &["--exact", "ack_removes", "--report", format], &[]);
    says(report("md"), 0, &["| `ack_removes` |", "| yes |"]);
    says(report("json"), 0, &["\"name\":\"ack_removes\"", "\"exit_code\":0"]);
    says(report("tap"), 0, &["TAP version 13", "1..1", "ok 1 - settle::ack_removes"]);
}

/// A whole run is held against the table; a change in either is an error until it is written.
fn table() {
    let path = std::env::temp_dir().join(format!("kombu-table-{}.md", std::process::id()));
    let _remover = Remover(&path);
    let text = path.to_string_lossy().into_owned();
    let run = |write: bool| {
        let environment = [(TABLE, text.as_str()), ("KOMBU_CONFORMANCE_WRITE", "1")];
        run("published", &[], &environment[..if write { 2 } else { 1 }])
    };
    says(run(false), 1, &["differs from this run", "KOMBU_CONFORMANCE_WRITE=1 writes it anew"]);
    says(run(true), 0, &[]);
    let written = std::fs::read_to_string(&path).expect("the table was written");
    assert!(written.starts_with(HEAD) && written.contains("| `topic_table` |"), "{written}");
    says(run(false), 0, &[]);
    let is_changed = |line: &str| line.starts_with("| `ack_removes` |");
    let changed: Vec<_> = written
        .lines()
        .map(|line| if is_changed(line) { line.replace("yes", "no") } else { line.to_owned() })
        .collect();
    std::fs::write(&path, changed.join("\n") + "\n").expect("the table can be written");
    says(run(false), 1, &["differs from this run", "ack_removes: no -> yes"]);
    assert_ne!(std::fs::read_to_string(&path).ok(), Some(written), "it is not written unasked");
}

struct Remover<'a>(&'a Path);

impl Drop for Remover<'_> {
    fn drop(&mut self) {
        // Nobody else needs it.
        let _ = std::fs::remove_file(self.0);
    }
}
