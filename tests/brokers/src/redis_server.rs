//! A real Redis server for one test.

use std::ffi::OsString;
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::sync::Mutex;
use std::time::Duration;

use tempfile::TempDir;

use crate::leash::{Leash, signal};
use crate::monitor::Monitor;
use crate::patience::{PATIENCE, eventually};
use crate::port::ReservedPort;
use crate::program::find_program;
use crate::redis_client::RedisClient;
use crate::redis_options::{RedisOptions, Role};
use crate::reply::Reply;
use crate::setup_error::SetupError;

/// A real `redis-server` on a free loopback port, in a temporary directory of its own.
///
/// Gone when dropped, with its data; gone too when the test process is killed. Any number of them run side by side.
///
/// # Example
///
/// ```
/// use kombu_brokers::RedisServer;
///
/// let mut server = RedisServer::options().appendonly().start();
/// server.command(&["LPUSH", "orders", "one"]);
/// server.kill();
/// server.restart();
/// assert_eq!(server.command(&["LRANGE", "orders", "0", "-1"]).texts(), ["one"]);
/// ```
#[derive(Debug)]
pub struct RedisServer {
    options: RedisOptions,
    program: PathBuf,
    port: ReservedPort,
    /// For TLS, and for the other nodes of a cluster.
    second_port: ReservedPort,
    running: Option<Running>,
    folder: TempDir,
    client: Mutex<Option<RedisClient>>,
}

#[derive(Debug)]
struct Running {
    child: Child,
    _leash: Leash,
}

impl RedisServer {
    /// Starts a server with the default options: nothing on disk, no password.
    ///
    /// # Panics
    ///
    /// When `redis-server` is not installed, or does not answer within a minute.
    pub fn start() -> Self {
        Self::options().start()
    }

    /// Begins the description of a server with other options.
    pub fn options() -> RedisOptions {
        RedisOptions::new()
    }

    /// Returns the URL of database 0, with the password if there is one.
    pub fn url(&self) -> String {
        self.url_at(self.addr())
    }

    /// Returns the URL of database 0 by way of `addr`, such as a proxy's.
    pub fn url_at(&self, addr: SocketAddr) -> String {
        match &self.options.password {
            Some(password) => format!("redis://:{password}@{addr}/0"),
            None => format!("redis://{addr}/0"),
        }
    }

    /// Returns the port, which stays the same across restarts.
    pub fn port(&self) -> u16 {
        self.port.number()
    }

    /// Returns the address.
    pub fn addr(&self) -> SocketAddr {
        self.port.addr()
    }

    /// Returns the path of the Unix socket, if the options asked for one.
    pub fn unixsocket(&self) -> Option<PathBuf> {
        self.options.unixsocket.then(|| self.folder.path().join(SOCKET))
    }

    /// Returns the address where TLS is spoken, if the options asked for it.
    pub fn tls_addr(&self) -> Option<SocketAddr> {
        self.options.tls.as_ref().map(|_| self.second_port.addr())
    }

    /// Returns the port where the other nodes of a cluster are listened to.
    pub(crate) fn cluster_port(&self) -> u16 {
        self.second_port.number()
    }

    /// Returns the directory where the server keeps its data and its log.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Returns the process identifier, or `None` while stopped.
    pub fn pid(&self) -> Option<u32> {
        self.running.as_ref().map(|running| running.child.id())
    }

    /// Returns what the server has logged so far.
    pub fn log(&self) -> String {
        let log = fs::read(self.folder.path().join(LOG)).unwrap_or_default();
        String::from_utf8_lossy(&log).into_owned()
    }

    /// Sends one command over a connection kept for this purpose and returns the answer.
    ///
    /// # Panics
    ///
    /// When the server does not answer, or refuses; [`RedisClient::try_command`] shows refusals.
    #[track_caller]
    pub fn command<A: AsRef<[u8]>>(&self, args: &[A]) -> Reply {
        // A test that panicked inside `command` has already failed; others of it may go on.
        let mut kept = self.client.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let mut client = kept.take().unwrap_or_else(|| self.client());
        let reply = client.command(args);
        *kept = Some(client);
        reply
    }

    /// Removes every key of every database.
    ///
    /// # Panics
    ///
    /// When the server does not answer.
    pub fn flushall(&self) {
        assert_eq!(self.command(&["FLUSHALL"]).text(), "OK");
    }

    /// Returns the names of all keys of database 0, sorted.
    ///
    /// # Panics
    ///
    /// When the server does not answer, or a name is not UTF-8.
    pub fn keys(&self) -> Vec<String> {
        let mut keys: Vec<String> = self.command(&["KEYS", "*"]).texts().into_iter().map(str::to_owned).collect();
        keys.sort();
        keys
    }

    /// Opens a connection of the test's own.
    ///
    /// # Panics
    ///
    /// When the server does not accept it.
    pub fn client(&self) -> RedisClient {
        self.client_through(self.addr())
    }

    /// Opens a connection of the test's own by way of `addr`, such as a proxy's.
    ///
    /// # Panics
    ///
    /// When the connection is not accepted.
    pub fn client_through(&self, addr: SocketAddr) -> RedisClient {
        RedisClient::connect(addr, self.options.password.as_deref())
            .unwrap_or_else(|error| panic!("no connection to redis-server by way of {addr}: {error}\n{}", self.log()))
    }

    /// Begins to record every command the server gets.
    ///
    /// # Panics
    ///
    /// When the server does not answer.
    pub fn monitor(&self) -> Monitor {
        Monitor::start(self.client(), self.client())
    }

    /// Ends the server in good order (`SIGTERM`) and waits until it has; the port and the directory stay reserved.
    ///
    /// # Panics
    ///
    /// When it has not ended within [`PATIENCE`].
    pub fn stop(&mut self) {
        self.forget_client();
        let Some(mut running) = self.running.take() else { return };
        // An error means that it has ended by itself.
        let _ = signal(running.child.id(), "TERM");
        let ended = eventually(PATIENCE, || !matches!(running.child.try_wait(), Ok(None)));
        assert!(ended, "redis-server has not ended within {PATIENCE:?}:\n{}", self.log());
    }

    /// Ends the server with `kill -9` and waits until it is gone; the port and the directory stay reserved.
    pub fn kill(&mut self) {
        self.forget_client();
        if let Some(mut running) = self.running.take() {
            // An error means that it has ended by itself.
            let _ = running.child.kill();
            let _ = running.child.wait();
        }
    }

    /// Stops the server in its tracks (`SIGSTOP`): connections stay open and are accepted, nothing is answered.
    ///
    /// # Panics
    ///
    /// When the server is not running.
    pub fn pause(&self) {
        self.send_signal("STOP");
    }

    /// Lets a paused server go on (`SIGCONT`).
    ///
    /// # Panics
    ///
    /// When the server is not running.
    pub fn resume(&self) {
        self.send_signal("CONT");
    }

    /// Starts the server again on the same port and directory, after [`stop`](RedisServer::stop) if it still runs. Data
    /// come back if they were written to disk: see [`RedisOptions::appendonly`].
    ///
    /// # Panics
    ///
    /// When it does not answer within a minute.
    pub fn restart(&mut self) {
        self.stop();
        if let Err(reason) = self.launch() {
            panic!("{}", self.explain(&reason));
        }
    }

    pub(crate) fn start_with(options: RedisOptions) -> Result<Self, SetupError> {
        let program = find_program(&options.binary, INSTALL)?;
        let folder = tempfile::Builder::new().prefix("kombu-redis-").tempdir();
        let folder = folder.map_err(|error| SetupError::new(format!("no temporary directory: {error}")))?;
        let port = ReservedPort::new();
        let second_port = ReservedPort::new();
        let mut server =
            RedisServer { options, program, port, second_port, running: None, folder, client: Mutex::new(None) };
        server.write_files().map_err(|error| SetupError::new(format!("no files for redis-server: {error}")))?;
        // A program outside our tests may take the port between our look and the server's bind. Another port is then as
        // good as the first; nothing that a test checks is tried twice.
        for _ in 0..PORTS_TO_TRY {
            match server.launch() {
                Ok(()) => return Ok(server),
                Err(NotUp::PortTaken) => {
                    server.port = ReservedPort::new();
                    server.second_port = ReservedPort::new();
                }
                Err(reason) => return Err(SetupError::new(server.explain(&reason))),
            }
        }
        Err(SetupError::new(server.explain(&NotUp::PortTaken)))
    }

    fn launch(&mut self) -> Result<(), NotUp> {
        let log = self.folder.path().join(LOG);
        let folder = self.folder.path();
        // The log of an earlier run would speak for this one.
        let output = fs::File::create(&log).map_err(|error| NotUp::CannotStart(error.to_string()))?;
        let (child, leash) = Leash::spawn(&self.program, &self.arguments(), &log, |sh| {
            sh.current_dir(folder).stdin(Stdio::null()).stdout(output);
        })
        .map_err(|error| NotUp::CannotStart(error.to_string()))?;
        self.running = Some(Running { child, _leash: leash });
        let mut ended = false;
        let up = eventually(START_PATIENCE, || {
            ended = self.has_ended();
            ended || self.answers()
        });
        if up && !ended {
            return Ok(());
        }
        self.kill();
        Err(match ended {
            true if self.log().contains("Address already in use") => NotUp::PortTaken,
            true => NotUp::Ended,
            false => NotUp::Silent,
        })
    }

    fn arguments(&self) -> Vec<OsString> {
        let yes_no = |yes: bool| if yes { "yes" } else { "no" };
        let mut arguments: Vec<OsString> = vec![];
        if matches!(self.options.role, Role::Sentinel { .. }) {
            // What it learns it writes down there.
            arguments.extend([SENTINEL_CONF.into(), "--sentinel".into()]);
        }
        let mut set = |name: &str, value: &str| arguments.extend([format!("--{name}").into(), value.into()]);
        set("port", &self.port().to_string());
        set("bind", "127.0.0.1");
        set("dir", &self.folder.path().to_string_lossy());
        set("daemonize", "no");
        if let Some(tls) = &self.options.tls {
            set("tls-port", &self.second_port.number().to_string());
            set("tls-ca-cert-file", CA_FILE);
            set("tls-cert-file", CERT_FILE);
            set("tls-key-file", KEY_FILE);
            set("tls-auth-clients", yes_no(tls.asks_clients));
        }
        if matches!(self.options.role, Role::Sentinel { .. }) {
            arguments.extend(self.options.args.iter().cloned());
            return arguments;
        }
        set("save", "");
        set("appendonly", yes_no(self.options.appendonly));
        set("appendfsync", "always");
        if let Some(password) = &self.options.password {
            set("requirepass", password);
        }
        if let Some(socket) = self.unixsocket() {
            set("unixsocket", &socket.to_string_lossy());
        }
        match &self.options.role {
            Role::Replica(master) => {
                set("replicaof", &master.ip().to_string());
                arguments.push(master.port().to_string().into());
            }
            Role::Node => {
                set("cluster-enabled", "yes");
                set("cluster-port", &self.cluster_port().to_string());
                set("cluster-node-timeout", "1000");
                set("cluster-config-file", "nodes.conf");
            }
            Role::Alone | Role::Sentinel { .. } => {}
        }
        arguments.extend(self.options.args.iter().cloned());
        arguments
    }

    fn write_files(&self) -> std::io::Result<()> {
        let folder = self.folder.path();
        if let Some(tls) = &self.options.tls {
            fs::write(folder.join(CA_FILE), &tls.authority)?;
            fs::write(folder.join(CERT_FILE), tls.identity.certificate())?;
            fs::write(folder.join(KEY_FILE), tls.identity.key())?;
        }
        if let Role::Sentinel { master_name: name, master, quorum } = &self.options.role {
            let (ip, port) = (master.ip(), master.port());
            let conf = format!(
                "sentinel monitor {name} {ip} {port} {quorum}\nsentinel down-after-milliseconds {name} 1000\n\
                 sentinel failover-timeout {name} 5000\n"
            );
            fs::write(folder.join(SENTINEL_CONF), conf)?;
        }
        Ok(())
    }

    // Whoever answers must be our own process, as another one may have taken the port, and must have read its data.
    fn answers(&self) -> bool {
        let info = RedisClient::connect(self.addr(), self.options.password.as_deref())
            .and_then(|mut client| client.try_command(&["INFO"]));
        match (info, self.pid()) {
            (Ok(Reply::Bulk(info)), Some(pid)) => {
                let info = String::from_utf8_lossy(&info);
                let says = |wanted: &str| info.lines().any(|line| line.trim_end() == wanted);
                let is_sentinel = matches!(self.options.role, Role::Sentinel { .. });
                says(&format!("process_id:{pid}")) && (is_sentinel || says("loading:0"))
            }
            _ => false,
        }
    }

    fn has_ended(&mut self) -> bool {
        self.running.as_mut().is_none_or(|running| !matches!(running.child.try_wait(), Ok(None)))
    }

    fn explain(&self, reason: &NotUp) -> String {
        let (program, port) = (self.program.display(), self.port());
        match reason {
            NotUp::PortTaken => format!("{program}: port {port} was taken by another program; run the tests again"),
            NotUp::CannotStart(error) => format!("cannot start {program}: {error}"),
            NotUp::Ended => format!("{program} ended at once; its log:\n{}", self.log()),
            NotUp::Silent => format!("{program} does not answer within {START_PATIENCE:?}; its log:\n{}", self.log()),
        }
    }

    fn forget_client(&self) {
        *self.client.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = None;
    }

    fn send_signal(&self, name: &str) {
        let pid = self.pid().expect("the server is running");
        signal(pid, name).unwrap_or_else(|error| panic!("redis-server: {error}"));
    }
}

impl Drop for RedisServer {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Why a server that was started is not there.
enum NotUp {
    PortTaken,
    CannotStart(String),
    Ended,
    Silent,
}

const START_PATIENCE: Duration = Duration::from_secs(60);
const PORTS_TO_TRY: usize = 5;
const LOG: &str = "redis.log";
const SOCKET: &str = "redis.sock";
const INSTALL: &str =
    "run scripts/setup, or install Redis (Debian: apt-get install redis-server; macOS: brew install redis)";
const CA_FILE: &str = "ca.pem";
const CERT_FILE: &str = "server.pem";
const KEY_FILE: &str = "server.key";
const SENTINEL_CONF: &str = "sentinel.conf";
