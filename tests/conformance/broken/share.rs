//! The variants are shared out among processes, one for each processor: a check that counts descriptors and threads is then not
//! disturbed by the variants beside it.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};

/// Tells a process its share, as in `0/2`.
const VARIABLE: &str = "KOMBU_BROKEN_SHARE";

/// What begins the line of a problem, and of the end.
const PROBLEM: &str = "PROBLEM ";
const END: &str = "END OF SHARE";

/// Returns the share of this process, if it is one of those among whom the work is shared out.
pub(crate) fn mine() -> Option<(usize, usize)> {
    let text = std::env::var(VARIABLE).ok()?;
    let (share, of) = text.split_once('/')?;
    // Whoever shared out the work is gone when the input ends.
    std::thread::spawn(|| {
        let _ = std::io::stdin().lines().last();
        std::process::exit(1);
    });
    Some((share.parse().ok()?, of.parse().ok()?))
}

/// Tells what is wrong in the variants of this process.
pub(crate) fn print(problems: &[String]) {
    for problem in problems {
        println!("\n{PROBLEM}{}", problem.replace('\n', " "));
    }
    println!("\n{END}");
}

/// Runs test `name` in a process for each processor and returns what is wrong.
pub(crate) fn run_all(name: &str) -> Vec<String> {
    let of = std::thread::available_parallelism().map_or(2, usize::from).min(8);
    let children: Vec<Child> = (0..of).map(|share| start(name, share, of)).collect();
    children.into_iter().flat_map(finish).collect()
}

fn start(name: &str, share: usize, of: usize) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args([name, "--exact", "--nocapture"])
        .env(VARIABLE, format!("{share}/{of}"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap()
}

fn finish(mut child: Child) -> Vec<String> {
    // Taken first: its end is the child's, and `wait` would close it.
    let _input = child.stdin.take();
    let (mut problems, mut is_whole) = (Vec::new(), false);
    for line in BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok) {
        match line.strip_prefix(PROBLEM) {
            Some(problem) => problems.push(problem.to_owned()),
            None if line == END => is_whole = true,
            // What `KOMBU_BROKEN` and `KOMBU_BROKEN_TABLE` ask for.
            None if std::env::var("KOMBU_BROKEN").is_ok() || std::env::var("KOMBU_BROKEN_TABLE").is_ok() => {
                println!("{line}");
            }
            None => {}
        }
    }
    let status = child.wait().unwrap();
    if !is_whole || !status.success() {
        problems.push(format!("a process that had a share of the variants ended with {status}"));
    }
    problems
}
