//! A real RabbitMQ node.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use tempfile::TempDir;

use crate::erlang::Erlang;
use crate::leash::signal;
use crate::patience::{PATIENCE, eventually};
use crate::rabbit_node::{INSTALL, RabbitPorts, RabbitPrograms, Running, configure};
use crate::rabbit_options::RabbitOptions;
use crate::rabbit_vhost::RabbitVhost;
use crate::setup_error::SetupError;

/// A real RabbitMQ node on free loopback ports, with a name server, cookie and folder of its own.
///
/// Gone when dropped, with its data; gone too when the test process ends or is killed. Any number of them run side by side,
/// beside one of the machine's own. A node takes seconds to start, so tests that do no harm to it use the
/// [`shared`](RabbitServer::shared) one of their process, each in a [virtual host](RabbitServer::vhost) of its own.
///
/// # Example
///
/// ```no_run
/// use kombu_brokers::RabbitServer;
///
/// let vhost = RabbitServer::shared().vhost();
/// assert!(vhost.url().starts_with("amqp://guest:guest@127.0.0.1:"));
/// assert_eq!(vhost.queues(), [] as [&str; 0]);
/// ```
#[derive(Debug)]
pub struct RabbitServer {
    programs: RabbitPrograms,
    ports: RabbitPorts,
    all_processors: bool,
    erlang: Erlang,
    node: Option<Running>,
    _epmd: Running,
    folder: TempDir,
    vhosts: AtomicU32,
}

impl RabbitServer {
    /// Starts a node with the default options.
    ///
    /// # Panics
    ///
    /// When RabbitMQ is not installed, or has not booted within two minutes.
    pub fn start() -> Self {
        Self::options().start()
    }

    /// Begins the description of a node with other options.
    pub fn options() -> RabbitOptions {
        RabbitOptions::new()
    }

    /// Returns the node that all tests of this process share, started at the first call. Do not stop it, and do not block
    /// it; it is gone when the process ends.
    ///
    /// # Panics
    ///
    /// As [`start`](RabbitServer::start).
    pub fn shared() -> &'static RabbitServer {
        static SHARED: OnceLock<RabbitServer> = OnceLock::new();
        SHARED.get_or_init(RabbitServer::start)
    }

    /// Makes a virtual host for one test, which disappears when it is dropped.
    ///
    /// # Panics
    ///
    /// When the node is not running.
    #[track_caller]
    pub fn vhost(&self) -> RabbitVhost<'_> {
        RabbitVhost::new(self, format!("test-{}", self.vhosts.fetch_add(1, Ordering::Relaxed)))
    }

    /// Returns the URL of the virtual host `/` as `guest`.
    pub fn url(&self) -> String {
        self.url_at(self.addr())
    }

    /// Returns the URL of the virtual host `/` as `guest` by way of `addr`, such as a proxy's.
    pub fn url_at(&self, addr: SocketAddr) -> String {
        format!("amqp://guest:guest@{addr}/%2F")
    }

    /// Returns the TLS URL of the virtual host `/` as `guest`, with `host` as the server's name.
    pub fn tls_url(&self, host: &str) -> String {
        format!("amqps://guest:guest@{host}:{}/%2F", self.ports.amqps.number())
    }

    /// Returns the port, which stays the same across restarts.
    pub fn port(&self) -> u16 {
        self.ports.amqp.number()
    }

    /// Returns the address.
    pub fn addr(&self) -> SocketAddr {
        self.ports.amqp.addr()
    }

    /// Returns the address of the TLS listener; somebody listens there only if the options asked for it.
    pub fn tls_addr(&self) -> SocketAddr {
        self.ports.amqps.addr()
    }

    /// Returns the directory where the node keeps its data and its log.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Returns the process identifier, or `None` while stopped.
    pub fn pid(&self) -> Option<u32> {
        self.node.as_ref().map(Running::pid)
    }

    /// Returns what the node has logged since it was last started.
    pub fn log(&self) -> String {
        String::from_utf8_lossy(&fs::read(self.folder.path().join(LOG)).unwrap_or_default()).into_owned()
    }

    /// Evaluates an Erlang expression (ASCII, without the final dot) on the node and returns the value as Erlang prints it,
    /// or the text itself when the value is `{text, Characters}`.
    ///
    /// # Panics
    ///
    /// When the node does not answer, or the expression cannot be read or raises.
    #[track_caller]
    pub fn eval(&self, expression: &str) -> String {
        self.try_eval(expression).unwrap_or_else(|error| panic!("{error}"))
    }

    /// Evaluates an Erlang expression on the node and returns the value as Erlang prints it.
    ///
    /// # Errors
    ///
    /// Why there is no value: the node does not answer, or the expression cannot be read or raises.
    pub fn try_eval(&self, expression: &str) -> Result<String, String> {
        if self.node.is_none() { Err("the node is not running".to_owned()) } else { self.erlang.eval(expression) }
    }

    /// Adds a user who may do nothing yet; see [`set_permissions`](RabbitServer::set_permissions).
    ///
    /// # Panics
    ///
    /// When the node refuses, as it does when the user is there already.
    #[track_caller]
    pub fn add_user(&self, user: &str, password: &str) {
        let done =
            self.eval(&format!("rabbit_auth_backend_internal:add_user({}, {}, {BY})", binary(user), binary(password)));
        assert_eq!(done, "ok", "adding the user {user}");
    }

    /// Says what a user may configure, write and read in a virtual host, as patterns of names; the empty pattern is nothing.
    ///
    /// # Panics
    ///
    /// When there is no such user or virtual host.
    #[track_caller]
    pub fn set_permissions(&self, user: &str, vhost: &str, configure: &str, write: &str, read: &str) {
        let patterns = [configure, write, read].map(binary).join(", ");
        let done = self.eval(&format!(
            "rabbit_auth_backend_internal:set_permissions({}, {}, {patterns}, {BY})",
            binary(user),
            binary(vhost)
        ));
        assert_eq!(done, "ok", "giving permissions to {user}");
    }

    /// Returns how many client connections are open.
    ///
    /// # Panics
    ///
    /// When the node does not answer.
    #[track_caller]
    pub fn connections(&self) -> usize {
        number(&self.eval("length(rabbit_networking:connections())"))
    }

    /// Returns how many channels are open.
    ///
    /// # Panics
    ///
    /// When the node does not answer.
    #[track_caller]
    pub fn channels(&self) -> usize {
        number(&self.eval("length(rabbit_channel:list())"))
    }

    /// Closes every client connection, as an operator does: with the code 320 and `reason`.
    ///
    /// # Panics
    ///
    /// When the node does not answer.
    #[track_caller]
    pub fn close_all_connections(&self, reason: &str) {
        let reason = reason.escape_default();
        // One may be gone already: a client with several closes the others when it loses one.
        let each = format!("(catch rabbit_networking:close_connection(P, \"{reason}\"))");
        self.eval(&format!("[{each} || P <- rabbit_networking:connections()]"));
    }

    /// Raises the memory alarm: publishers are told to stop (`connection.blocked`) and nothing is read from them.
    ///
    /// # Panics
    ///
    /// When the node does not answer.
    #[track_caller]
    pub fn block_publishers(&self) {
        assert_eq!(self.eval("rabbit_alarm:set_alarm({{resource_limit, memory, node()}, []})"), "ok");
    }

    /// Ends the memory alarm.
    ///
    /// # Panics
    ///
    /// When the node does not answer.
    #[track_caller]
    pub fn unblock_publishers(&self) {
        assert_eq!(self.eval("rabbit_alarm:clear_alarm({resource_limit, memory, node()})"), "ok");
    }

    /// Stops RabbitMQ within the node, in good order: clients are told (`connection.close` with 320), the ports close.
    ///
    /// # Panics
    ///
    /// When the node does not answer.
    #[track_caller]
    pub fn stop_app(&self) {
        assert_eq!(self.eval("rabbit:stop()"), "ok");
    }

    /// Starts RabbitMQ again after [`stop_app`](RabbitServer::stop_app).
    ///
    /// # Panics
    ///
    /// When the node does not answer.
    #[track_caller]
    pub fn start_app(&self) {
        assert_eq!(self.eval("rabbit:start()"), "ok");
        assert!(eventually(PATIENCE, || self.has_booted()), "the application runs; its log:\n{}", self.log());
    }

    /// Kills the node with `kill -9` and waits until it is gone; its ports and folder stay reserved.
    pub fn kill(&mut self) {
        if let Some(mut node) = self.node.take() {
            node.kill();
        }
    }

    /// Stops the node in its tracks (`SIGSTOP`): connections stay open and are accepted, nothing is answered.
    ///
    /// # Panics
    ///
    /// When the node is not running.
    pub fn pause(&self) {
        self.send_signal("STOP");
    }

    /// Lets a paused node go on (`SIGCONT`).
    ///
    /// # Panics
    ///
    /// When the node is not running.
    pub fn resume(&self) {
        self.send_signal("CONT");
    }

    /// Starts the node again on the same ports and data, after [`kill`](RabbitServer::kill) if it still runs. Durable queues
    /// and their persistent messages come back.
    ///
    /// # Panics
    ///
    /// When it has not booted within two minutes.
    pub fn restart(&mut self) {
        self.kill();
        if let Err(reason) = self.launch() {
            panic!("{}", self.explain(&reason));
        }
    }

    pub(crate) fn start_with(options: RabbitOptions) -> Result<Self, SetupError> {
        let programs = RabbitPrograms::find(options.binary.as_deref())?;
        // A program outside our tests may take a port between our look and the node's bind. Others are then as good as the
        // first; nothing that a test checks is tried twice.
        let mut tries = 1..=PORTS_TO_TRY;
        loop {
            let mut server = Self::prepare(&options, programs.clone())?;
            match server.launch() {
                Ok(()) => return Ok(server),
                Err(NotUp::PortTaken) if tries.next().is_some() => {}
                Err(reason) => return Err(SetupError::new(server.explain(&reason))),
            }
        }
    }

    fn prepare(options: &RabbitOptions, programs: RabbitPrograms) -> Result<Self, SetupError> {
        let folder = tempfile::Builder::new().prefix("kombu-rabbit-").tempdir();
        let folder = folder.map_err(|error| SetupError::new(format!("no temporary directory: {error}")))?;
        let ports = RabbitPorts::new();
        let erlang = Erlang::new(ports.distribution.addr(), INSTALL)?;
        let cannot = |error| SetupError::new(format!("cannot prepare a RabbitMQ node: {error}"));
        configure(folder.path(), &ports, options).map_err(cannot)?;
        let epmd = programs.start_epmd(folder.path(), &ports).map_err(cannot)?;
        let vhosts = AtomicU32::new(1);
        let all_processors = options.all_processors;
        Ok(RabbitServer { programs, ports, all_processors, erlang, node: None, _epmd: epmd, folder, vhosts })
    }

    fn launch(&mut self) -> Result<(), NotUp> {
        let log = self.folder.path().join(LOG);
        let node = self.programs.start_node(self.folder.path(), &self.ports, self.all_processors, &log);
        self.node = Some(node.map_err(|error| NotUp::CannotStart(error.to_string()))?);
        let mut ended = false;
        let up = eventually(START_PATIENCE, || {
            ended = self.node.as_mut().is_none_or(Running::has_ended);
            // The question takes a process, so it is asked when there is a reason to hope.
            ended || self.log().contains(LISTENING) && self.has_booted()
        });
        if up && !ended {
            return Ok(());
        }
        self.kill();
        let taken = |log: String| log.contains("eaddrinuse") || log.contains("address already in use");
        Err(match ended {
            true if taken(self.log()) => NotUp::PortTaken,
            true => NotUp::Ended,
            false => NotUp::Silent,
        })
    }

    fn has_booted(&self) -> bool {
        self.try_eval("rabbit:is_booted(node())").is_ok_and(|answer| answer == "true")
    }

    fn explain(&self, reason: &NotUp) -> String {
        let log = self.log();
        match reason {
            NotUp::PortTaken => "RabbitMQ: a port was taken by another program; run the tests again".to_owned(),
            NotUp::CannotStart(error) => format!("cannot start RabbitMQ: {error}"),
            NotUp::Ended => format!("RabbitMQ ended at once; its log:\n{log}"),
            NotUp::Silent => format!("RabbitMQ has not booted within {START_PATIENCE:?}; its log:\n{log}"),
        }
    }

    fn send_signal(&self, name: &str) {
        let pid = self.pid().expect("the node is running");
        signal(pid, name).unwrap_or_else(|error| panic!("rabbitmq-server: {error}"));
    }
}

/// Why a node that was started is not there.
enum NotUp {
    PortTaken,
    CannotStart(String),
    Ended,
    Silent,
}

/// Returns `text` as an Erlang binary.
pub(crate) fn binary(text: &str) -> String {
    let bytes: Vec<String> = text.bytes().map(|byte| byte.to_string()).collect();
    format!("<<{}>>", bytes.join(","))
}

/// Reads a count.
pub(crate) fn number(printed: &str) -> usize {
    printed.parse().unwrap_or_else(|_| panic!("expected a number, got {printed}"))
}

/// Who changes what, in the node's log.
pub(crate) const BY: &str = "<<\"kombu-tests\">>";

// A node takes about three seconds of a processor to start; a machine may have many other things to do.
const START_PATIENCE: Duration = Duration::from_secs(120);
const PORTS_TO_TRY: usize = 5;
const LISTENING: &str = "started TCP listener";
const LOG: &str = "rabbit.log";
