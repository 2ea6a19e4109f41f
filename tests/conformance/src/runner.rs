//! Runs checks, each on a thread and hub of its own, and gives up on those that hang.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use kombu_core::Support;

use crate::bench::Bench;
use crate::check::Check;
use crate::failure::{Failure, Verdict};
use crate::ground::{Ground, unique_run};
use crate::need::Need;
use crate::outcome::{CheckResult, Outcome};
use crate::probe;
use crate::report::Report;

/// A check may take so many times the patience before it counts as hanging, and never less than two minutes.
const LIMIT: u32 = 5;
const LEAST_LIMIT: Duration = Duration::from_secs(120);

/// Runs `selected`, each `stress` times, up to `jobs` at once.
///
/// # Errors
///
/// Why nothing could be run.
pub(crate) fn run(
    ground: &Arc<Ground>,
    selected: &[&'static Check],
    stress: usize,
    jobs: usize,
    mut progress: impl FnMut(&str),
) -> Result<Report, String> {
    let url = if ground.is_hub_alone { "no transport".to_owned() } else { preflight(ground)? };
    let mut results = Vec::new();
    let repeated = || (0..stress).flat_map(|_| selected.iter().copied());
    let mut finished = |result: CheckResult| {
        progress(&crate::report::line(&result));
        results.push(result);
    };
    work_off(ground, repeated().filter(|check| !check.is_alone).collect(), jobs, &mut finished);
    work_off(ground, repeated().filter(|check| check.is_alone).collect(), 1, &mut finished);
    let order = |check: &Check| selected.iter().position(|one| one.name == check.name);
    results.sort_by_key(|result| order(result.check));
    Ok(Report::new(ground.name, url, ground.seed, results, ground.reasons.clone()))
}

/// Connects once, so that a missing broker is one error and not one for each check.
fn preflight(ground: &Arc<Ground>) -> Result<String, String> {
    static PREFLIGHT: Check = Check::new(crate::check::Group::Lifecycle, "preflight", |bench| {
        bench.connect()?;
        Ok(())
    });
    let (ground, stage) = (Arc::clone(ground), Arc::default());
    let thread = std::thread::spawn(move || {
        let bench = Bench::new(ground, &PREFLIGHT, None, stage).map_err(|failure| failure.to_string())?;
        let url = bench.url.parse::<kombu_core::BrokerUrl>().map_err(|error| error.to_string())?.to_string();
        let connected = (PREFLIGHT.run)(&bench);
        bench.clean_up();
        connected.map_err(|failure| format!("no connection to {url}: {failure}"))?;
        Ok(url)
    });
    thread.join().unwrap_or_else(|panic| Err(format!("connecting panicked: {}", panic_text(&*panic))))
}

/// A check under way.
struct Running {
    number: usize,
    check: &'static Check,
    began: Instant,
    stage: Arc<Mutex<String>>,
}

fn work_off(
    ground: &Arc<Ground>,
    mut waiting: VecDeque<&'static Check>,
    jobs: usize,
    finished: &mut impl FnMut(CheckResult),
) {
    // What runs beside so many others takes so much longer.
    let crowd = u32::try_from(jobs / 8).unwrap_or(u32::MAX).max(1);
    let limit = (ground.patience * LIMIT).max(LEAST_LIMIT) * crowd;
    let (sender, receiver) = mpsc::channel();
    let mut running: Vec<Running> = Vec::new();
    let mut number = 0;
    while !waiting.is_empty() || !running.is_empty() {
        while running.len() < jobs
            && let Some(check) = waiting.pop_front()
        {
            number += 1;
            let stage = Arc::new(Mutex::new(String::from("begin")));
            running.push(Running { number, check, began: Instant::now(), stage: Arc::clone(&stage) });
            let (sender, mine) = (sender.clone(), number);
            // Every run of a check has names of its own, also when it runs beside itself.
            let ground =
                Arc::new(Ground { run: unique_run(), patience: patience(ground, check), ..(**ground).clone() });
            let body = move || {
                let outcome = judge(&ground, check, stage);
                // The main thread waits for it, unless it gave up.
                let _ = sender.send((mine, outcome));
            };
            let name = check.name.to_owned();
            if let Err(error) = std::thread::Builder::new().name(name).spawn(body) {
                running.pop();
                let outcome = Outcome::Failed(format!("no thread for the check: {error}"));
                finished(CheckResult { check, outcome, took: Duration::ZERO });
            }
        }
        let done = match receiver.recv_timeout(Duration::from_millis(200)) {
            Ok((number, outcome)) => running.iter().position(|one| one.number == number).map(|at| (at, outcome)),
            Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => hanging(&running, limit),
        };
        if let Some((at, outcome)) = done {
            let one = running.swap_remove(at);
            finished(CheckResult { check: one.check, outcome, took: one.began.elapsed() });
        }
    }
}

/// What is known to fail is not waited for long.
fn patience(ground: &Ground, check: &Check) -> Duration {
    let is_known = ground.known_failures.contains_key(check.name);
    if is_known { ground.patience.min(Duration::from_secs(10)) } else { ground.patience }
}

fn hanging(running: &[Running], limit: Duration) -> Option<(usize, Outcome)> {
    let at = running.iter().position(|one| one.began.elapsed() > limit)?;
    let stage = running[at].stage.lock().unwrap_or_else(PoisonError::into_inner).clone();
    Some((at, Outcome::Failed(format!("hangs for more than {limit:?}, last seen at: {stage}"))))
}

/// Runs one check on this thread.
fn judge(ground: &Arc<Ground>, check: &'static Check, stage: Arc<Mutex<String>>) -> Outcome {
    let outcome = catch_unwind(AssertUnwindSafe(|| attempt(ground, check, stage)))
        .unwrap_or_else(|panic| Outcome::Failed(format!("the check panicked: {}", panic_text(&*panic))));
    match (outcome, ground.known_failures.get(check.name)) {
        (Outcome::Failed(why), Some(noted)) => Outcome::KnownFailure(format!("{noted}: {why}")),
        (Outcome::Passed(_), Some(noted)) => {
            Outcome::Failed(format!("it is listed as a known failure ({noted}) and passes: take it off the list"))
        }
        (outcome, _) => outcome,
    }
}

fn attempt(ground: &Arc<Ground>, check: &'static Check, stage: Arc<Mutex<String>>) -> Outcome {
    let needs_broker = check.needs.iter().any(|need| matches!(need, Need::Hook(_)));
    let failed = |failure: Failure| Outcome::Failed(failure.to_string());
    let broker = if needs_broker {
        match declared_support(ground, check) {
            Some(Support::No) => None,
            _ => match ground.broker.as_ref().map(|start| start()) {
                Some(Ok(broker)) => Some(broker),
                Some(Err(why)) => return Outcome::Failed(format!("the broker does not start: {why}")),
                None => return Outcome::NotRun("the harness starts no brokers".to_owned()),
            },
        }
    } else {
        None
    };
    let hooks = broker.as_ref().map(|broker| broker.hooks().to_vec()).unwrap_or_default();
    let bench = match Bench::new(Arc::clone(ground), check, broker, stage) {
        Ok(bench) => bench,
        Err(failure) => return failed(failure),
    };
    let outcome = run_on(&bench, check, &hooks).unwrap_or_else(failed);
    bench.clean_up();
    outcome
}

/// What the transport says of the check before it is connected.
fn declared_support(ground: &Ground, check: &Check) -> Option<Support> {
    let can = ground.declared().ok()?;
    let supports: Vec<_> = check.needs.iter().filter_map(|need| need.support(&can)).collect();
    supports.iter().copied().find(|support| *support == Support::No)
}

fn run_on(bench: &Bench, check: &'static Check, hooks: &[crate::need::Hook]) -> Verdict<Outcome> {
    let can = bench.capabilities()?;
    let mut support = Support::Native;
    for need in check.needs {
        match need.support(&can) {
            Some(Support::No) => {
                let refusal = probe::refusal(bench, *need)?;
                return Ok(Outcome::Skipped(format!("not declared: {need} ({refusal})")));
            }
            Some(Support::Emulated) => support = Support::Emulated,
            Some(Support::Native) => {}
            None => {
                if let Need::Hook(hook) = need
                    && !hooks.contains(hook)
                {
                    return Ok(Outcome::NotRun(format!("the harness has no {need}")));
                }
                if matches!(need, Need::Can(_)) {
                    return Err(Failure::new(format!("the suite asks for `{need}`, which is no capability")));
                }
            }
        }
    }
    (check.run)(bench)?;
    Ok(Outcome::Passed(support))
}

pub(crate) fn panic_text(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_else(|| "no text".to_owned())
}

/// Returns a seed nobody chose.
pub(crate) fn random_seed() -> u64 {
    let nanos =
        std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).map_or(0, |time| time.subsec_nanos());
    u64::from(nanos ^ std::process::id()) % 100_000
}
