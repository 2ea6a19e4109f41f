//! The processes of one RabbitMQ node, and its files.

use std::env;
use std::ffi::OsString;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use crate::erlang::COOKIE;
use crate::leash::Leash;
use crate::port::ReservedPort;
use crate::program::find_program;
use crate::rabbit_options::RabbitOptions;
use crate::setup_error::SetupError;

/// The programs a node needs.
#[derive(Clone, Debug)]
pub(crate) struct RabbitPrograms {
    server: PathBuf,
    epmd: PathBuf,
}

/// The ports of one node, which stay the same across restarts.
#[derive(Debug)]
pub(crate) struct RabbitPorts {
    pub(crate) amqp: ReservedPort,
    pub(crate) amqps: ReservedPort,
    pub(crate) distribution: ReservedPort,
    epmd: ReservedPort,
}

/// A running process; dead when dropped.
#[derive(Debug)]
pub(crate) struct Running {
    child: Child,
    _leash: Leash,
}

impl RabbitPrograms {
    pub(crate) fn find(binary: Option<&str>) -> Result<Self, SetupError> {
        // Debian's program in PATH changes to the user `rabbitmq`, who may not read our folder.
        let server = match binary {
            Some(binary) => find_program(binary, INSTALL)?,
            None => find_program(DEBIAN, INSTALL).or_else(|_| find_program("rabbitmq-server", INSTALL))?,
        };
        Ok(RabbitPrograms { server, epmd: find_program("epmd", INSTALL)? })
    }

    /// Starts the name server that Erlang nodes insist on; each of ours has its own, so that all may have the same name. It
    /// runs as long as the node's folder is wanted, and takes it along.
    pub(crate) fn start_epmd(&self, folder: &Path, ports: &RabbitPorts) -> io::Result<Running> {
        let port = ports.epmd.number().to_string();
        let arguments = ["-port", &port, "-address", "127.0.0.1"].map(OsString::from);
        let output = fs::File::create(folder.join("epmd.log"))?;
        let (child, leash) = Leash::spawn_in(folder, &self.epmd, &arguments, &folder.join("epmd.log"), |sh| {
            clean(sh).stdin(Stdio::null()).stdout(output);
        })?;
        Ok(Running { child, _leash: leash })
    }

    /// Starts the node.
    pub(crate) fn start_node(
        &self,
        folder: &Path,
        ports: &RabbitPorts,
        all_processors: bool,
        log: &Path,
    ) -> io::Result<Running> {
        let arguments = ["-eval", LOAD_AT_ONCE, "-s", "rabbit", "boot"].map(OsString::from);
        let output = fs::File::create(log)?;
        let (child, leash) = Leash::spawn(&self.server, &arguments, log, |sh| {
            clean(sh).current_dir(folder).stdin(Stdio::null()).stdout(output);
            let path = |name: &str| folder.join(name);
            sh.env("HOME", folder)
                .env("ERL_EPMD_PORT", ports.epmd.number().to_string())
                .env("ERL_EPMD_ADDRESS", "127.0.0.1")
                .env("ERL_CRASH_DUMP_SECONDS", "0")
                .env("ERL_MAX_PORTS", "4096")
                .env("RABBITMQ_NODENAME", NODE)
                .env("RABBITMQ_DIST_PORT", ports.distribution.number().to_string())
                .env("RABBITMQ_MNESIA_BASE", path("mnesia"))
                .env("RABBITMQ_LOG_BASE", path("log"))
                .env("RABBITMQ_LOGS", "-")
                .env("RABBITMQ_PID_FILE", path("pid"))
                .env("RABBITMQ_ENABLED_PLUGINS_FILE", path("enabled_plugins"))
                .env("RABBITMQ_GENERATED_CONFIG_DIR", path("generated"))
                .env("RABBITMQ_ADVANCED_CONFIG_FILE", path("advanced.config"))
                // Neither file is there: the machine's own must not be read.
                .env("RABBITMQ_CONFIG_FILE", path("none"))
                .env("RABBITMQ_CONF_ENV_FILE", path("none"))
                .env("RABBITMQ_MAX_NUMBER_OF_PROCESSES", "65536")
                .env("RABBITMQ_MAX_NUMBER_OF_ATOMS", "1048576")
                // Erlang replaces the script, so that the process is the node, and boots when our arguments say so.
                .env("RABBITMQ_ALLOW_INPUT", "1")
                .env("RABBITMQ_NODE_ONLY", "1")
                .env(
                    "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS",
                    erlang_arguments(ports.distribution.number(), all_processors),
                );
        })?;
        Ok(Running { child, _leash: leash })
    }
}

impl RabbitPorts {
    pub(crate) fn new() -> Self {
        let new = ReservedPort::new;
        RabbitPorts { amqp: new(), amqps: new(), distribution: new(), epmd: new() }
    }
}

impl Running {
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn has_ended(&mut self) -> bool {
        !matches!(self.child.try_wait(), Ok(None))
    }

    pub(crate) fn kill(&mut self) {
        // An error means that it has ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Writes the node's files to `folder`.
pub(crate) fn configure(folder: &Path, ports: &RabbitPorts, options: &RabbitOptions) -> io::Result<()> {
    fs::create_dir_all(folder.join("log"))?;
    let mut rabbit = vec![
        format!(r#"{{tcp_listeners, [{{"127.0.0.1", {}}}]}}"#, ports.amqp.number()),
        r#"{log, [{console, [{enabled, true}, {level, info}]}, {file, [{file, false}]}]}"#.to_owned(),
        // The tests' data are small; the machine's memory and disk are not for RabbitMQ to watch.
        "{disk_free_limit, 1000000}".to_owned(),
        "{loopback_users, []}".to_owned(),
    ];
    if let Some(tls) = &options.tls {
        fs::write(folder.join("authority.pem"), &tls.authority)?;
        let authority = folder.join("authority.pem");
        let (certificate, key) = tls.identity.write(folder, "server");
        rabbit.push(format!(r#"{{ssl_listeners, [{{"127.0.0.1", {}}}]}}"#, ports.amqps.number()));
        rabbit.push(format!(
            "{{ssl_options, [{{cacertfile, {authority:?}}}, {{certfile, {certificate:?}}}, {{keyfile, {key:?}}}, \
             {{verify, verify_peer}}, {{fail_if_no_peer_cert, {}}}]}}",
            tls.client_required
        ));
    }
    let mut plugins = "";
    if options.external {
        plugins = "rabbitmq_auth_mechanism_ssl";
        rabbit.push("{auth_mechanisms, ['PLAIN', 'AMQPLAIN', 'EXTERNAL']}".to_owned());
        rabbit.push("{ssl_cert_login_from, common_name}".to_owned());
    }
    rabbit.extend(options.config.iter().cloned());
    fs::write(folder.join("advanced.config"), format!("[{{rabbit, [{}]}}].\n", rabbit.join(",\n  ")))?;
    fs::write(folder.join("enabled_plugins"), format!("[{plugins}].\n"))
}

// The machine's own settings for a RabbitMQ or Erlang of its own.
fn clean(command: &mut Command) -> &mut Command {
    for (name, _) in env::vars_os() {
        let text = name.to_string_lossy();
        if text.starts_with("RABBITMQ_") || text.starts_with("ERL_") {
            command.env_remove(name);
        }
    }
    command
}

// One thread of each kind is enough for a test, and nothing listens beyond the loopback interface. A node that has its name
// from the start, and not from RabbitMQ, is not asked for its port on all interfaces.
fn erlang_arguments(port: u16, all_processors: bool) -> String {
    let threads = if all_processors { "" } else { "+S 1:1 +SDcpu 1:1 +SDio 1 +A 1" };
    format!(
        "-noinput -start_epmd false -sname {NODE} -setcookie {COOKIE} {threads} \
         -kernel inet_dist_use_interface {{127,0,0,1}} inet_dist_listen_min {port} inet_dist_listen_max {port}"
    )
}

const NODE: &str = "kombu@localhost";
const DEBIAN: &str = "/usr/lib/rabbitmq/bin/rabbitmq-server";
pub(crate) const INSTALL: &str =
    "run scripts/setup, or install RabbitMQ (Debian: apt-get install rabbitmq-server; macOS: brew install rabbitmq)";

// Loading the modules in one go takes less than half the processor time of loading them one by one, which is most of what a
// start costs. A library that is not there is left out.
const LOAD_AT_ONCE: &str = "code:ensure_modules_loaded([list_to_atom(filename:rootname(F)) || A <- [kernel, stdlib, \
     compiler, crypto, asn1, public_key, ssl, mnesia, syntax_tools, tools, xmerl, inets, sasl, os_mon, rabbit_common, \
     ra, osiris, rabbit, rabbitmq_prelaunch, ranch, amqp10_common, cuttlefish, credentials_obfuscation, jsx, recon, \
     observer_cli, stdout_formatter, gen_batch_server, seshat, aten, enough, syslog, sysmon_handler, systemd], \
     D <- [code:lib_dir(A)], is_list(D), F <- filelib:wildcard(\"*.beam\", filename:join(D, \"ebin\"))]).";
