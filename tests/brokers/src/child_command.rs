//! How a child process is started.

use std::env;
use std::ffi::OsString;
use std::path::PathBuf;

use crate::child_process::ChildProcess;
use crate::program::find_program;
use crate::setup_error::SetupError;

/// What to run and how, until [`spawn`](ChildCommand::spawn) runs it; made by [`ChildProcess::command`].
#[derive(Debug, Clone)]
pub struct ChildCommand {
    pub(crate) program: String,
    pub(crate) args: Vec<OsString>,
    pub(crate) envs: Vec<(OsString, OsString)>,
    pub(crate) removed_envs: Vec<OsString>,
    pub(crate) current_dir: Option<PathBuf>,
}

impl ChildCommand {
    pub(crate) fn new(program: impl Into<String>) -> Self {
        ChildCommand {
            program: program.into(),
            args: Vec::new(),
            envs: Vec::new(),
            removed_envs: Vec::new(),
            current_dir: None,
        }
    }

    pub(crate) fn this_test(name: &str) -> Self {
        let executable = env::current_exe().expect("a running test knows its executable");
        let program = executable.into_os_string().into_string().expect("cargo's paths are valid UTF-8");
        ChildCommand::new(program)
            .args(["--exact", name, "--ignored", "--nocapture", "--quiet", "--test-threads=1"])
            .env("RUST_BACKTRACE", "0")
    }

    /// Adds an argument.
    #[must_use]
    pub fn arg(mut self, arg: impl Into<OsString>) -> Self {
        self.args.push(arg.into());
        self
    }

    /// Adds arguments.
    #[must_use]
    pub fn args(mut self, args: impl IntoIterator<Item = impl Into<OsString>>) -> Self {
        self.args.extend(args.into_iter().map(Into::into));
        self
    }

    /// Sets an environment variable; the others are inherited.
    #[must_use]
    pub fn env(mut self, name: impl Into<OsString>, value: impl Into<OsString>) -> Self {
        self.envs.push((name.into(), value.into()));
        self
    }

    /// Keeps an environment variable from the program.
    #[must_use]
    pub fn env_remove(mut self, name: impl Into<OsString>) -> Self {
        self.removed_envs.push(name.into());
        self
    }

    /// Sets the working directory; by default the test's own.
    #[must_use]
    pub fn current_dir(mut self, folder: impl Into<PathBuf>) -> Self {
        self.current_dir = Some(folder.into());
        self
    }

    /// Starts the program.
    ///
    /// # Panics
    ///
    /// When the program is not installed or cannot be started.
    pub fn spawn(self) -> ChildProcess {
        self.try_spawn().unwrap_or_else(|error| panic!("{error}"))
    }

    /// Starts the program.
    ///
    /// # Errors
    ///
    /// A [`SetupError`] when the program is not installed or cannot be started.
    pub fn try_spawn(self) -> Result<ChildProcess, SetupError> {
        let program = find_program(&self.program, "install it, or build it first")?;
        ChildProcess::start(&program, &self)
            .map_err(|error| SetupError::new(format!("cannot start {}: {error}", program.display())))
    }
}
