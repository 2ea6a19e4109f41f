//! The AMQP transport of Kombu for Rust: RabbitMQ through [lapin](https://docs.rs/lapin), on the shared hub.
//!
//! A program that links this crate (`use kombu_amqp as _;`) can open `amqp://`, `pyamqp://` and, with the feature `tls`,
//! `amqps://` URLs. Queues are shared with Python programs that use Kombu or Celery: entities declared by one are accepted by
//! the other.
//!
//! # How it works
//!
//! ```text
//! AmqpTransport ── Session ─┬─ broker connection: declares, consumes, settles, publishes
//!                           ├─ broker connection: publishes, from the day something is consumed, too
//!                           └─ ChannelCore … ─┬─ AMQP channel: declares, consumes, settles
//!                                             └─ Publisher: an AMQP channel of its own, confirms, returns
//! ```
//!
//! # Threads
//!
//! lapin's sockets are watched by the hub's poller and its tasks and timers, heartbeats among them, run on the hub's thread. But
//! lapin reads, writes and parses on a helper thread of its own, called `lapin-io-loop`, one for each broker connection: one
//! for a program that consumes or publishes, two for a program that does both ([`single_connection`](#options) keeps it at one, at the
//! price that a broker short of memory then also stops reading acks). Handlers never run on it. A handler that blocks the
//! hub's thread for longer than two heartbeats, by default two minutes, costs the connection; such handlers want
//! `IoPlacement::Dedicated`.
//!
//! # Options
//!
//! In the URL's query or as transport options; names are Kombu's unless said otherwise.
//!
//! | name | default | what |
//! |---|---|---|
//! | `heartbeat` | the broker's proposal, 60 | seconds between signs of life |
//! | `login_method` | `PLAIN` | `PLAIN`, `AMQPLAIN` or `EXTERNAL` (the client's certificate) |
//! | `virtual_host` | `/` | the URL's path wins |
//! | `frame_max` | 131072 | bytes; a busy connection's buffers grow to 64 frames; one whose headers exceed a frame is refused, and what somebody else sent in larger ones ends the connection |
//! | `channel_max` | the broker's | |
//! | `confirm_publish` | `true` | every publish is confirmed; `false` is refused |
//! | `ssl` | `amqps` in the URL | encrypts; certificate and host name are always verified |
//! | `ca_certs` | the system's | file of PEM certificates to trust |
//! | `certfile`, `keyfile` | none | files with the client's own PEM certificate and key |
//! | `server_hostname` | the URL's host | the name the certificate must have |
//! | `connection_name` (ours) | none | what RabbitMQ's tools show |
//! | `single_connection` (ours) | `false` | one broker connection for consuming and publishing |
//!
//! # Logs
//!
//! lapin writes its own errors into the log, of which the connection tells as well: filter out `lapin`, as the examples do. It also
//! writes each message that comes back to a mandatory publish into the log, with its body, as a warning of
//! `lapin::returned_messages`; the publisher has it as its answer.
//!
//! # What nobody can handle
//!
//! What is [set aside](kombu_core::Message::set_aside), or was dropped too often, is copied to the durable queue
//! `_kombu.rs.malformed.<queue>`, which is made at need and grows until somebody empties it;
//! [`Connection::malformed`](kombu_core::Connection::malformed) shows it. A user who may neither make nor fill it is told, and the
//! message goes back to its queue after five seconds. To look fetches the messages and gives them back, so two who look at once
//! see less.
#![forbid(unsafe_code)]

mod aside;
mod channel;
mod channel_core;
mod client;
mod consumer;
mod error;
mod events;
mod lapin;
mod malformed;
mod options;
mod publish;
mod session;
mod settle;
mod transport;

pub use transport::register;
