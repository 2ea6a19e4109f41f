//! Python Kombu and Celery in a virtual environment shared by all tests.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitStatus;
use std::sync::OnceLock;
use std::time::Duration;

use tempfile::NamedTempFile;

use crate::child_process::ChildProcess;
use crate::program::find_program;
use crate::python_process::PythonProcess;
use crate::setup_error::SetupError;
use crate::target_dir::target_dir;

/// A Python with Kombu 5.7, Celery 5.7 and everything Kombu can serialize and compress with.
///
/// The virtual environment is made once, by `pip` from the Python Package Index, under cargo's target directory, and shared
/// by all tests and test processes: a lock file keeps them from making it twice, and a stamp with the list of packages says
/// that it is complete.
///
/// # Example
///
/// ```no_run
/// use kombu_brokers::PythonKombu;
///
/// let output = PythonKombu::shared().run("import kombu; print(kombu.__version__)", &[], b"");
/// assert!(output.stdout.starts_with("5.7."));
/// ```
#[derive(Debug)]
pub struct PythonKombu {
    folder: PathBuf,
}

/// A Python program to run: its text, or where it is.
#[derive(Clone, Debug)]
pub enum Script {
    /// The program's text, as for `python -c`.
    Source(String),
    /// The program's file.
    Path(PathBuf),
}

/// What a program that has ended left behind.
#[derive(Clone, Debug)]
pub struct Output {
    /// How it ended.
    pub status: ExitStatus,
    /// Its standard output; every line ends with a line end.
    pub stdout: String,
    /// Its standard error.
    pub stderr: String,
}

impl PythonKombu {
    /// Returns the environment, made at the first call.
    ///
    /// # Panics
    ///
    /// When Python 3 with its `venv` module is missing, or the packages cannot be installed.
    pub fn shared() -> &'static PythonKombu {
        static SHARED: OnceLock<PythonKombu> = OnceLock::new();
        SHARED.get_or_init(|| Self::prepare().unwrap_or_else(|error| panic!("{error}")))
    }

    /// Returns the environment, made if it is not there or has other packages than wanted.
    ///
    /// # Errors
    ///
    /// A [`SetupError`] when Python 3 with its `venv` module is missing, or the packages cannot be installed.
    pub fn prepare() -> Result<PythonKombu, SetupError> {
        Self::prepare_in(&target_dir(), "python3")
    }

    /// As [`prepare`](PythonKombu::prepare), with an environment of its own in `parent`, made by the interpreter `python`.
    ///
    /// # Errors
    ///
    /// As [`prepare`](PythonKombu::prepare).
    pub fn prepare_in(parent: &Path, python: &str) -> Result<PythonKombu, SetupError> {
        let kombu = PythonKombu { folder: parent.join(FOLDER) };
        if kombu.is_complete() {
            return Ok(kombu);
        }
        let python = find_program(python, INSTALL)?;
        // Held until this function returns, or this process ends.
        let _lock = lock(parent, &format!("{FOLDER}.lock"))?;
        if !kombu.is_complete() {
            kombu.make(&python)?;
        }
        Ok(kombu)
    }

    /// Returns the path of the environment's `python`.
    pub fn python(&self) -> PathBuf {
        self.folder.join("bin/python")
    }

    /// Returns the path of a program installed with the packages, such as `celery`.
    pub fn program(&self, name: &str) -> PathBuf {
        self.folder.join("bin").join(name)
    }

    /// Runs a program to its end, for at most a minute, with `stdin` as its standard input.
    ///
    /// # Panics
    ///
    /// When it has not ended after a minute; it is killed then.
    pub fn run(&self, script: impl Into<Script>, args: &[&str], stdin: &[u8]) -> Output {
        let child = self.start(&script.into(), args);
        finish(child, stdin, RUN_PATIENCE)
    }

    /// Starts a program for a conversation in JSON lines.
    ///
    /// # Panics
    ///
    /// When it cannot be started.
    pub fn spawn(&self, script: impl Into<Script>, args: &[&str]) -> PythonProcess {
        PythonProcess::new(self.start(&script.into(), args))
    }

    fn start(&self, script: &Script, args: &[&str]) -> ChildProcess {
        let command = ChildProcess::command(self.python().to_string_lossy());
        let command = match script {
            Script::Source(source) => command.arg("-c").arg(source),
            Script::Path(path) => command.arg(path),
        };
        // Bytecode files would land beside scripts that are under version control.
        command.args(args).env("PYTHONUNBUFFERED", "1").env("PYTHONDONTWRITEBYTECODE", "1").spawn()
    }

    fn is_complete(&self) -> bool {
        // The interpreter is a link to the system's own, which may have gone.
        self.python().exists() && fs::read_to_string(self.folder.join(STAMP)).is_ok_and(|stamp| stamp == PACKAGES)
    }

    fn make(&self, python: &Path) -> Result<(), SetupError> {
        let folder = self.folder.to_string_lossy().into_owned();
        if self.folder.exists() {
            fs::remove_dir_all(&self.folder).map_err(|error| cannot(&format!("remove {folder}"), &error))?;
        }
        let venv = ChildProcess::command(python.to_string_lossy()).args(["-m", "venv", &folder]).try_spawn()?;
        let output = finish(venv, b"", MAKE_PATIENCE);
        if !output.status.success() {
            return Err(SetupError::new(format!("cannot make a virtual environment; {INSTALL}\n{}", output.all())));
        }
        let packages = self.folder.join("requirements.txt");
        fs::write(&packages, PACKAGES).map_err(|error| cannot("write the list of packages", &error))?;
        let pip = ChildProcess::command(self.python().to_string_lossy())
            .args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-input", "--requirement"])
            .arg(packages)
            .try_spawn()?;
        let output = finish(pip, b"", MAKE_PATIENCE);
        if !output.status.success() {
            return Err(SetupError::new(format!("cannot install the Python packages of the tests\n{}", output.all())));
        }
        self.write_stamp().map_err(|error| cannot("mark the virtual environment as complete", &error))
    }

    // The stamp appears whole or not at all.
    fn write_stamp(&self) -> std::io::Result<()> {
        let mut stamp = NamedTempFile::new_in(&self.folder)?;
        stamp.write_all(PACKAGES.as_bytes())?;
        stamp.persist(self.folder.join(STAMP))?;
        Ok(())
    }
}

impl Output {
    /// Returns the standard output of a program that must have succeeded.
    ///
    /// # Panics
    ///
    /// When it has not; the text includes its standard error.
    pub fn success(self) -> String {
        assert!(self.status.success(), "the program ended with {}\n{}", self.status, self.all());
        self.stdout
    }

    fn all(&self) -> String {
        format!("{}{}", self.stdout, self.stderr)
    }
}

impl From<&str> for Script {
    fn from(source: &str) -> Self {
        Script::Source(source.to_owned())
    }
}

impl From<&Path> for Script {
    fn from(path: &Path) -> Self {
        Script::Path(path.to_owned())
    }
}

impl From<PathBuf> for Script {
    fn from(path: PathBuf) -> Self {
        Script::Path(path)
    }
}

fn finish(mut child: ChildProcess, stdin: &[u8], patience: Duration) -> Output {
    // A program that does not read all its input is free not to.
    let _ = child.send_all(stdin);
    let status = child.wait(patience);
    let mut stdout = String::new();
    while let Some(line) = child.try_recv_line(LAST_LINES) {
        stdout.push_str(&line);
        stdout.push('\n');
    }
    Output { status, stdout, stderr: child.stderr() }
}

fn lock(parent: &Path, name: &str) -> Result<File, SetupError> {
    let path = parent.join(name);
    let open = || {
        fs::create_dir_all(parent)?;
        let file = File::create(&path)?;
        file.lock()?;
        Ok(file)
    };
    open().map_err(|error: std::io::Error| cannot(&format!("lock {}", path.display()), &error))
}

fn cannot(what: &str, error: &std::io::Error) -> SetupError {
    SetupError::new(format!("cannot {what}: {error}"))
}

const FOLDER: &str = "python-kombu-5.7";
const STAMP: &str = "complete";
const PACKAGES: &str = "\
kombu[redis,msgpack,yaml]==5.7.*
celery==5.7.*
brotli
backports.zstd; python_version < \"3.14\"
";
const RUN_PATIENCE: Duration = Duration::from_secs(60);
const MAKE_PATIENCE: Duration = Duration::from_secs(600);
const LAST_LINES: Duration = Duration::from_secs(5);
const INSTALL: &str = "run scripts/setup, or install Python 3.10 or newer with its venv module \
                       (Debian: apt-get install python3-venv)";
