//! What an author puts together: the transport, its broker, and what is known.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::ExitCode;
use std::rc::Rc;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use kombu_core::hub::Hub;
use kombu_core::{Clock, Error, ErrorKind, FieldTable, Result, ShortStr, TransportEntry, Value, registry};
use kombu_hub::MioHub;

use crate::arguments::{Arguments, HELP};
use crate::broker::Broker;
use crate::check::{Check, Group};
use crate::checks;
use crate::child;
use crate::ground::{Address, Ground, check_entry, unique_run};
use crate::published::Published;
use crate::report::Report;
use crate::runner;

/// Runs the suite over the transport of `entry`, against the broker whose URL is in the environment variable `variable`; what
/// `main` of a test with `harness = false` returns.
pub fn run(entry: TransportEntry, variable: &'static str) -> ExitCode {
    Suite::new(entry).url_from_env(variable).main()
}

/// A conformance suite over one transport: what is run, and on what.
///
/// ```no_run
/// # use kombu_conformance::{Broker, Suite};
/// # struct Server;
/// # impl Server { fn spawn() -> Result<Box<dyn Broker>, String> { Err(String::new()) } }
/// # const ENTRY: kombu_core::TransportEntry = kombu_core::TransportEntry {
/// #     name: "mine", schemes: &["mine"], description: "", make: |_| unreachable!() };
/// fn main() -> std::process::ExitCode {
///     Suite::new(ENTRY)
///         .broker(Server::spawn)
///         .known_failure("headers_match_table", "my-transport#12")
///         .main()
/// }
/// ```
#[must_use = "a suite does nothing until `main` or `check`"]
pub struct Suite {
    ground: Ground,
    jobs: Option<usize>,
    published: Option<Published>,
}

impl Suite {
    /// Starts a suite over the transport of `entry`, which is also registered with core, on [`MioHub`].
    ///
    /// Defaults: no broker, 10 s of patience, as many checks at once as there are processors, at most 4.
    pub fn new(entry: TransportEntry) -> Self {
        registry::register(entry);
        Suite::over(entry)
    }

    /// Starts a suite over a hub alone, with no transport registered on it: the checks of the group `hub`. `make` is called on the
    /// thread of each check.
    ///
    /// ```no_run
    /// use std::rc::Rc;
    /// use kombu_core::hub::Hub;
    ///
    /// fn main() -> std::process::ExitCode {
    ///     let make = |clock| kombu_hub::MioHub::with_clock(clock).map(|hub| Rc::new(hub) as Rc<dyn Hub>);
    ///     kombu_conformance::Suite::of_hub("mio", make).main()
    /// }
    /// ```
    pub fn of_hub(
        name: &'static str,
        make: impl Fn(Arc<dyn Clock>) -> Result<Rc<dyn Hub>> + Send + Sync + 'static,
    ) -> Self {
        let refuse = |_| Err(Error::new(ErrorKind::Unsupported, "a suite of a hub alone has no transport"));
        let entry = TransportEntry { name, schemes: &["no-transport"], description: "a hub alone", make: refuse };
        let mut suite = Suite::over(entry).hub(make);
        suite.ground.is_hub_alone = true;
        suite
    }

    fn over(entry: TransportEntry) -> Self {
        let mio = |clock: Arc<dyn Clock>| MioHub::with_clock(clock).map(|hub| Rc::new(hub) as Rc<dyn Hub>);
        Suite {
            ground: Ground {
                name: entry.name,
                entry,
                address: Address::None,
                options: FieldTable::new(),
                hub: Arc::new(mio),
                is_manual: false,
                is_hub_alone: false,
                is_small: false,
                patience: Duration::from_secs(10),
                broker: None,
                known_failures: BTreeMap::new(),
                reasons: BTreeMap::new(),
                seed: 0,
                run: unique_run(),
                shared: Arc::new(Mutex::new(None)),
            },
            jobs: None,
            published: None,
        }
    }

    /// Starts a suite over the transport that serves `scheme`, linked or registered.
    ///
    /// # Errors
    ///
    /// `UnknownTransport` when there is none, naming those there are.
    pub fn of(scheme: &str) -> Result<Self> {
        registry::find(scheme).map(Suite::new)
    }

    /// Names the suite in its reports; default the transport's name. For a transport that is run with several sets of options.
    pub fn named(mut self, name: &'static str) -> Self {
        self.ground.name = name;
        self
    }

    /// Runs against the broker at `url`.
    pub fn url(mut self, url: impl Into<String>) -> Self {
        self.ground.address = Address::Shared(url.into());
        self
    }

    /// Runs against the broker whose URL is in an environment variable; without it the suite cannot run.
    pub fn url_from_env(mut self, variable: &'static str) -> Self {
        self.ground.address = Address::Variable(variable);
        self
    }

    /// Gives each check a broker at a URL of its own, made from a label that no other check of any run has: for brokers that
    /// live in the process.
    pub fn private_url(mut self, make: impl Fn(&str) -> String + Send + Sync + 'static) -> Self {
        self.ground.address = Address::Private(Arc::new(make));
        self
    }

    /// Starts brokers with `start`: one for all checks if no URL was given, and one for each check that treats it badly.
    pub fn broker<F>(mut self, start: F) -> Self
    where
        F: Fn() -> std::result::Result<Box<dyn Broker>, String> + Send + Sync + 'static,
    {
        self.ground.broker = Some(Arc::new(start));
        self
    }

    /// Sets one of the transport's own options.
    pub fn option(mut self, name: impl Into<ShortStr>, value: impl Into<Value>) -> Self {
        self.ground.options.insert(name.into(), value.into());
        self
    }

    /// Runs by a clock that each check turns by hand: for transports all of whose time comes from the
    /// [`TransportConfig`](kombu_core::TransportConfig). Needs [`private_url`](Suite::private_url).
    pub fn manual_clock(mut self) -> Self {
        self.ground.is_manual = true;
        self
    }

    /// Runs on another hub; default [`MioHub`]. `make` is called on the thread of each check.
    pub fn hub(mut self, make: impl Fn(Arc<dyn Clock>) -> Result<Rc<dyn Hub>> + Send + Sync + 'static) -> Self {
        self.ground.hub = Arc::new(make);
        self
    }

    /// Sets how long to wait for what must happen; default 10 s.
    pub fn patience(mut self, patience: Duration) -> Self {
        self.ground.patience = patience;
        self
    }

    /// Makes every check do less of what it repeats: for runs that are themselves repeated.
    pub fn small(mut self) -> Self {
        self.ground.is_small = true;
        self
    }

    /// Sets how many checks run at once.
    pub fn jobs(mut self, jobs: usize) -> Self {
        self.jobs = Some(jobs.max(1));
        self
    }

    /// Says that a check fails, and where that is noted. From then on it is an error if it passes.
    pub fn known_failure(mut self, check: &str, noted: &str) -> Self {
        self.ground.known_failures.insert(check.to_owned(), noted.to_owned());
        self
    }

    /// Says why the transport does not declare a capability, for the report.
    pub fn reason(mut self, capability: &'static str, reason: &'static str) -> Self {
        self.ground.reasons.insert(capability, reason);
        self
    }

    /// Holds every whole run against this suite's column of a table that is kept in the repository, as CONFORMANCE.md is: it is
    /// an error if they differ, or if a capability is not declared without a [`reason`](Suite::reason). `head` is what stands
    /// above the table. With `KOMBU_CONFORMANCE_WRITE=1` in the environment the column is written instead.
    pub fn published(mut self, path: impl Into<PathBuf>, head: &'static str) -> Self {
        self.published = Some(Published { path: path.into(), head });
        self
    }

    /// Runs what the command line asks for and returns the exit code.
    pub fn main(self) -> ExitCode {
        child::serve(&self.ground);
        match Arguments::parse(std::env::args().skip(1)) {
            Ok(arguments) => self.command(&arguments),
            Err(problem) => {
                eprintln!("error: {problem}");
                ExitCode::from(2)
            }
        }
    }

    fn command(mut self, arguments: &Arguments) -> ExitCode {
        let all = self.checks();
        let selected: Vec<_> = all.iter().copied().filter(|check| arguments.selects(check)).collect();
        if let Some(unknown) = self.unknown_known_failure() {
            eprintln!("error: known_failure names `{unknown}`, which is no check");
            return ExitCode::from(2);
        }
        if arguments.helps {
            print!("{HELP}");
            return ExitCode::SUCCESS;
        }
        if arguments.explains {
            selected.iter().for_each(|check| println!("{}", check.explain()));
            return ExitCode::from(if selected.is_empty() { 2 } else { 0 });
        }
        if arguments.lists {
            self.list(arguments, &selected);
            return ExitCode::SUCCESS;
        }
        if selected.is_empty() {
            eprintln!("error: no check is called {}", arguments.filters.join(" or "));
            return ExitCode::from(2);
        }
        self.ground.seed = arguments.seed.unwrap_or_else(runner::random_seed);
        let jobs = arguments.jobs.or(self.jobs.filter(|_| arguments.stress == 1));
        // A part of the checks, or many runs of them, is no column of a table.
        let is_whole = selected.len() == all.len() && arguments.stress == 1;
        let published = self.published.take().filter(|_| is_whole);
        match self.run(&selected, arguments.stress, jobs, |line| arguments.format.progress(line)) {
            Ok(report) => {
                print!("{}", report.text(arguments.format));
                let compared = match published {
                    Some(published) if report.exit_code() == 0 => published.compare(&report),
                    _ => Ok(()),
                };
                if let Err(problem) = &compared {
                    eprintln!("error: {problem}");
                }
                ExitCode::from(if compared.is_err() { 1 } else { report.exit_code() })
            }
            Err(why) => could_not_run(&why),
        }
    }

    /// Does a child's part and does not return, in a process that a check of this suite started from this program: for programs
    /// that call [`check`](Suite::check) instead of [`main`](Suite::main), before anything else.
    pub fn serve_child(&self) {
        child::serve(&self.ground);
    }

    /// Runs every check and returns what came of it.
    ///
    /// # Errors
    ///
    /// Why the suite could not run at all.
    pub fn check(mut self, seed: u64) -> std::result::Result<Report, String> {
        if child::is_child() {
            return Err("this process is a check's child: call `serve_child` first".to_owned());
        }
        self.ground.seed = seed;
        let jobs = self.jobs;
        let all = self.checks();
        self.run(&all, 1, jobs, |_| ())
    }

    /// The checks that this suite is about.
    fn checks(&self) -> Vec<&'static Check> {
        checks::all().into_iter().filter(|check| !self.ground.is_hub_alone || check.group() == Group::Hub).collect()
    }

    fn run(
        self,
        selected: &[&'static Check],
        stress: usize,
        jobs: Option<usize>,
        progress: impl FnMut(&str),
    ) -> std::result::Result<Report, String> {
        check_entry(&self.ground.entry).map_err(|error| error.to_string())?;
        let processors = std::thread::available_parallelism().map_or(1, usize::from).min(4);
        // Each beside each other, unless somebody says how many at once.
        let processors = if stress > 1 { selected.len().max(processors) } else { processors };
        runner::run(&Arc::new(self.ground), selected, stress, jobs.unwrap_or(processors), progress)
    }

    fn unknown_known_failure(&self) -> Option<&String> {
        let all = checks::all();
        self.ground.known_failures.keys().find(|name| !all.iter().any(|check| check.name == name.as_str()))
    }

    /// Lists the checks in the words of test runners: those that would be skipped are the ignored ones.
    fn list(&self, arguments: &Arguments, selected: &[&'static Check]) {
        let declared = self.ground.declared().ok();
        let is_declared = |check: &Check| {
            let can = declared.as_deref();
            can.is_none_or(|can| {
                check.needs.iter().all(|need| need.support(can).is_none_or(kombu_core::Support::is_available))
            })
        };
        let listed: Vec<_> = selected.iter().filter(|check| !arguments.only_ignored || !is_declared(check)).collect();
        for check in &listed {
            println!("{}: test", check.path());
        }
        if !arguments.is_terse {
            println!("\n{} checks", listed.len());
        }
    }
}

fn could_not_run(why: &str) -> ExitCode {
    if std::env::var("KOMBU_CONFORMANCE").is_ok_and(|value| value == "optional") {
        eprintln!("SKIPPED, ALL OF IT: {why} (KOMBU_CONFORMANCE=optional)");
        return ExitCode::SUCCESS;
    }
    eprintln!("error: the suite could not run: {why}");
    ExitCode::from(2)
}

impl std::fmt::Debug for Suite {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Suite({})", self.ground.entry.name)
    }
}
