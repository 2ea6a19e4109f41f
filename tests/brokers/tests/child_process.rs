//! Child processes: conversation, signals, and that nothing outlives the test.

use std::path::Path;
use std::process;
use std::time::Duration;

use kombu_brokers::{ChildProcess, PATIENCE, eventually};
use serde_json::json;

#[test]
fn lines_go_both_ways_and_end_is_seen() {
    let mut cat = ChildProcess::command("cat").spawn();
    cat.send_line("one");
    cat.send_line("two");
    assert_eq!(cat.recv_line(PATIENCE), "one");
    assert_eq!(cat.recv_line(PATIENCE), "two");
    cat.close_stdin();
    assert!(cat.wait(PATIENCE).success());
    assert_eq!(cat.try_recv_line(PATIENCE), None, "the output has ended");
    assert!(cat.try_send_line("three").is_err());
}

#[test]
fn json_is_found_between_other_lines() {
    let mut shell = ChildProcess::command("sh").args(["-c", "echo noise; echo 3; echo '{\"a\": 1}'"]).spawn();
    assert_eq!(shell.recv_json(PATIENCE), json!({"a": 1}));
    assert_eq!(shell.try_recv_json(PATIENCE), None);
}

#[test]
fn arguments_environment_and_directory_arrive() {
    let script = "echo \"$1|$2|$WORD|$PWD\"";
    let mut shell = ChildProcess::command("sh")
        .args(["-c", script, "sh", "a b", "$c\"'"])
        .env("WORD", "kombu")
        .current_dir("/")
        .spawn();
    assert_eq!(shell.recv_line(PATIENCE), "a b|$c\"'|kombu|/");
}

#[test]
fn standard_error_is_kept() {
    let mut shell = ChildProcess::command("sh").args(["-c", "echo trouble >&2; exit 3"]).spawn();
    assert_eq!(shell.wait(PATIENCE).code(), Some(3));
    assert_eq!(shell.stderr(), "trouble\n");
}

#[test]
fn the_identifier_is_the_programs_own() {
    let mut shell = ChildProcess::command("sh").args(["-c", "echo $$"]).spawn();
    assert_eq!(shell.recv_line(PATIENCE), shell.pid().to_string());
}

#[test]
fn a_missing_program_is_named() {
    let error = ChildProcess::command("kombu-no-such-program").try_spawn().unwrap_err();
    assert!(error.to_string().contains("`kombu-no-such-program` is not installed"), "{error}");
}

#[test]
fn a_paused_program_is_silent_until_resumed() {
    let mut cat = ChildProcess::command("cat").spawn();
    cat.pause();
    assert!(eventually(PATIENCE, || state(cat.pid()) == Some('T')));
    cat.send_line("hello");
    assert!(cat.is_running());
    cat.resume();
    assert_eq!(cat.recv_line(PATIENCE), "hello");
}

#[test]
fn terminate_and_kill_end_it() {
    let mut cat = ChildProcess::command("cat").spawn();
    cat.terminate();
    assert!(!cat.wait(PATIENCE).success());
    let mut cat = ChildProcess::command("cat").spawn();
    cat.pause();
    cat.kill();
    assert!(!cat.is_running(), "a paused program is killed too");
}

#[test]
fn drop_ends_the_program_and_its_children() {
    let mut shell = ChildProcess::command("sh").args(["-c", "sleep 600 & echo $!; wait"]).spawn();
    let grandchild: u32 = shell.recv_line(PATIENCE).parse().unwrap();
    let child = shell.pid();
    assert!(is_alive(child) && is_alive(grandchild));
    drop(shell);
    assert!(!is_alive(child));
    assert!(eventually(PATIENCE, || !is_alive(grandchild)), "the guard ends the whole group");
}

#[test]
fn a_killed_test_leaves_nothing_behind() {
    // A killed test cannot remove its directories, so they are put into one of ours.
    let folder = tempfile::tempdir().unwrap();
    let mut test = ChildProcess::this_test("victim").env("TMPDIR", folder.path()).spawn();
    let said = test.recv_json(PATIENCE);
    let pids: Vec<u32> = said["pids"].as_array().unwrap().iter().map(|pid| pid.as_u64().unwrap() as u32).collect();
    assert!(pids.iter().all(|&pid| is_alive(pid)));
    assert_eq!(said["test"], test.pid());
    // Only the test process itself is killed here: `kill -9`, no destructor runs, nobody closes anything.
    test.kill();
    for pid in pids {
        assert!(eventually(PATIENCE, || !is_alive(pid)), "process {pid} outlived the test");
    }
}

#[test]
#[ignore = "run by a_killed_test_leaves_nothing_behind"]
fn victim() {
    // Programs that would never end by themselves: one ignores its input, one ignores polite signals.
    let sleeper = ChildProcess::command("sleep").arg("600").spawn();
    let mut stubborn =
        ChildProcess::command("sh").args(["-c", "trap '' TERM INT HUP PIPE; echo ready; sleep 600; sleep 600"]).spawn();
    assert_eq!(stubborn.recv_line(PATIENCE), "ready");
    println!("{}", json!({"test": process::id(), "pids": [sleeper.pid(), stubborn.pid()]}));
    std::thread::sleep(Duration::from_secs(600));
}

// The one-letter state of a process, as in `ps`; `None` when it is gone.
fn state(pid: u32) -> Option<char> {
    if !Path::new("/proc/self").exists() {
        let alive = process::Command::new("kill").args(["-0", &pid.to_string()]).status().is_ok_and(|s| s.success());
        return alive.then_some('R');
    }
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    stat.rsplit_once(") ")?.1.chars().next()
}

// A zombie is dead; whether somebody has asked for its exit status is not our business.
fn is_alive(pid: u32) -> bool {
    state(pid).is_some_and(|state| state != 'Z' && state != 'X')
}
