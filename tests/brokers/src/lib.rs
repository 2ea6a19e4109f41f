//! Test support for Kombu for Rust: the real things at the other end of the wire.
//!
//! Not for production and never published. Everything here listens on the loopback interface only, lives in a temporary
//! directory of its own, takes a port nobody else has, and is gone when its value is dropped — also when the test process
//! is killed with `kill -9` (see [`ChildProcess`] for how).
//!
//! | Type | What it is |
//! |---|---|
//! | [`RedisServer`] | a real `redis-server`, replica or sentinel: stop, kill and restart it on the same port and data |
//! | [`RedisCluster`] | a real Redis Cluster of several such servers |
//! | [`CertificateAuthority`], [`Identity`] | certificates made for one test |
//! | [`RedisClient`], [`Reply`] | the smallest Redis client, to look at keys with other eyes than the code under test |
//! | [`Monitor`] | every command a server gets, as `MONITOR` shows them |
//! | [`RabbitServer`], [`RabbitVhost`] | a real RabbitMQ node: users, alarms, TLS; stop, kill and restart it; one virtual host per test |
//! | [`CertificateAuthority`], [`Identity`] | certificates for servers and clients, made when they are needed |
//! | [`FaultProxy`] | a TCP proxy that cuts, stalls, delays, trickles and refuses |
//! | [`PythonKombu`], [`PythonProcess`] | Python Kombu 5.7 and Celery 5.7 in a virtual environment, and conversations with it |
//! | [`ChildProcess`] | any program, with line-by-line conversation, `kill -9`, pause and resume |
//! | [`free_port`], [`ReservedPort`] | loopback ports that parallel tests never share |
//! | [`PATIENCE`], [`eventually`] | how long to wait for what must happen |
//!
//! A broken setup (no `redis-server`, `rabbitmq-server` or `python3`) stops the test with a panic that says what to install. Functions named
//! `try_…` return the [`SetupError`] instead.
//!
//! # Example
//!
//! ```
//! use kombu_brokers::{FaultProxy, RedisServer};
//!
//! let server = RedisServer::start();
//! server.command(&["LPUSH", "orders", "one"]);
//! assert_eq!(server.command(&["LLEN", "orders"]).int(), 1);
//!
//! let proxy = FaultProxy::start(server.addr());
//! let mut client = server.client_through(proxy.addr());
//! assert_eq!(client.command(&["RPOP", "orders"]).text(), "one");
//! proxy.cut();
//! assert!(client.try_command(&["PING"]).is_err());
//! ```
#![forbid(unsafe_code)]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::missing_panics_doc,
    reason = "test support: a broken setup should stop the test"
)]

mod certificate;
mod child_command;
mod child_process;
mod erlang;
mod fault;
mod fault_proxy;
mod leash;
mod link;
mod monitor;
mod patience;
mod port;
mod program;
mod python_kombu;
mod python_process;
mod rabbit_node;
mod rabbit_options;
mod rabbit_server;
mod rabbit_vhost;
mod redis_client;
mod redis_cluster;
mod redis_options;
mod redis_server;
mod reply;
mod setup_error;
mod target_dir;

pub use certificate::{CertificateAuthority, Identity};
pub use child_command::ChildCommand;
pub use child_process::ChildProcess;
pub use fault::Direction;
pub use fault_proxy::FaultProxy;
pub use monitor::{Monitor, MonitoredCommand};
pub use patience::{PATIENCE, eventually};
pub use port::{ReservedPort, free_port};
pub use python_kombu::{Output, PythonKombu, Script};
pub use python_process::PythonProcess;
pub use rabbit_options::RabbitOptions;
pub use rabbit_server::RabbitServer;
pub use rabbit_vhost::RabbitVhost;
pub use redis_client::RedisClient;
pub use redis_cluster::RedisCluster;
pub use redis_options::RedisOptions;
pub use redis_server::RedisServer;
pub use reply::Reply;
pub use setup_error::SetupError;
pub use target_dir::target_dir;
