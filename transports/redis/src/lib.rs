//! The Redis transport of Kombu for Rust: AMQP's words over Redis lists, sets and channels, wire-compatible with Python Kombu
//! 5.7.
//!
//! A program that links this crate (`use kombu_redis as _;`) can open these URLs. Python programs that use Kombu or Celery read
//! what it writes, and the reverse.
//!
//! | URL | leads to |
//! |---|---|
//! | `redis://user:password@host:6379/0`, `valkey://…` | a server; the path is the number of the database |
//! | `rediss://…`, `valkeys://…` | the same by TLS, with the feature `tls` |
//! | `redis+socket:///path?virtual_host=0`, `unix:///path` | a Unix socket |
//! | `sentinel://host:26379;sentinel://host:26379/0` | the master these sentinels call `master_name` |
//!
//! **TLS** verifies the server's certificate and its name, by the authorities the system trusts or those of `ssl_ca_certs`,
//! `ssl_ca_path` or `ssl_ca_data`. The options are those of Python's `redis`: `ssl_certfile`, `ssl_keyfile`, `ssl_cert_reqs`,
//! `ssl_check_hostname`, `ssl_min_version`, in the URL's query, as transport options, or in a table `ssl`.
//!
//! **Sentinel** has Kombu's options `master_name`, `min_other_sentinels` and `sentinel_kwargs`. Every connection asks the sentinels
//! and then the server itself whether it is the master; a server that turns out to be a replica is left, and what it refused is
//! sent to the next one.
//!
//! **Redis Cluster** means one node here: with a hash tag in `global_keyprefix`, such as `{shop}:`, all keys of an application are
//! in one slot, so it works as on a single server, and moves with the slot when a node fails. It gains failover and no
//! capacity; several applications, each with a tag of its own, spread over the nodes. Without a hash tag a node of a cluster is
//! refused. While a slot is moved by hand (`MIGRATING`), work waits until the move is done.
//!
//! # Options of our own
//!
//! Kombu's transport options have Kombu's names and defaults. Beside them:
//!
//! | option | default | meaning |
//! |---|---|---|
//! | `confirm` | `server` | when a publish is confirmed: once the server has it; `wait(n)`, once `n` replicas have it too (`WAIT`), so that a failover does not lose it; `fsync`, once the disk has it (`WAITAOF`, Redis 7.2). One command per tick; a replica that is slow keeps everything on the connection waiting for up to 0.1 seconds at a time |
//! | `priority_order` | `low_first` | which priorities are served first: Kombu's order on Redis, or AMQP's with `high_first`. It changes how this connection reads, not where messages lie |
//! | `fanout_stored` | no | queues this connection binds to fanout exchanges keep messages while nobody consumes, unless they expire, are exclusive or auto-delete. Every publisher of this library puts copies there, in one step with publishing; what Python publishes is only heard |
//! | `topology` | `kombu` | what says which exchanges and queues there are: Kombu's keys, or with `registry` keys of our own: what is missing is found missing, what differs is refused, exclusive, auto-delete and expiring queues are what they say in all processes. That holds only where every program is ours, and has this option; a publish is a script then |
//! | `lease` | 30 | seconds without a life sign after which a consumer is given up |
//! | `max_hold` | none | seconds after which a message that was taken and not settled is given to other consumers although its process lives, for handlers that hang; noticed within a quarter of it. What waits in the process for its turn counts too |
//! | `wake` | `auto` | what wakes an idle consumer: `blmove`, one socket for each list that waits; `tracking`, the server tells of changes; `brpop`, Kombu's. `auto` is `blmove` on the most urgent list of a queue and `tracking` on the others, as far as the server allows them, and `brpop` only where it allows neither: a message that `brpop` has popped is lost if the answer is |
//! | `max_message_size` | 128 MiB | the largest envelope that is read, in bytes |
//! | `max_nesting` | 512 | how deep lists and maps of an envelope nest |
//!
//! # Queues with arguments
//!
//! `x-message-ttl`, `x-max-length`, `x-max-length-bytes`, `x-overflow`, `x-dead-letter-exchange`, `x-dead-letter-routing-key` and, for
//! quorum queues, `x-delivery-limit`, as well as the property `expiration` and exchanges of kind `x-delayed-message`, mean what they mean
//! on RabbitMQ, whichever process of ours declared the queue. Python Kombu ignores them on Redis, which is seen where it works beside:
//!
//! | | |
//! |---|---|
//! | Python takes from such a queue | it gets messages as from any; what has expired and is not removed yet, too; what it rejects is not dead-lettered |
//! | Python publishes to one | the message counts for a limit with the next publish or return of ours; its time to live begins when one of ours finds it at the head of the queue; its own `expiration` is ignored |
//! | Python publishes to an `x-delayed-message` exchange | it is routed at once |
//!
//! Things happen when they are due as long as one program of ours is connected: whichever put them there, or within about two seconds
//! another. Without any they wait. A message that expires at once (0) is left to consumers that wait for half a second; `basic.get` never
//! has it. A publisher learns of a policy that another process has just declared by a message from the server: what it sends before
//! that is looked after with the next publish.
//!
//! # How it works
//!
//! ```text
//! RedisTransport ── Session ─┬─ command socket: everything, pipelined, flushed once per tick
//!                            ├─ MultiChannelPoller ─┬─ waiter sockets: BLMOVE into an inbox while a queue is empty
//!                            │                      └─ listener socket: PSUBSCRIBE
//!                            ├─ lease socket, on the thread that runs no callbacks: signs of life
//!                            └─ ChannelCore … : consumers, unsettled deliveries, publishes that wait for routes
//! ```
//!
//! While messages flow they are claimed by script, up to 256 at once, popped and recorded as unacknowledged in one step; the
//! settles of a tick are one command. Consumers that wait are served in turn, whoever waits longest first, from the moment they are said to
//! consume; of a backlog each takes what its prefetch leaves room for, 8 messages at first, so that a small prefetch is what
//! shares a backlog evenly. With `wake=tracking` whoever asks first is served.
//!
//! A lease that may be over – the process stood still, the server was out of reach – hands nothing more to the application: what waits in
//! the process goes back, or is somebody else's already. A lost socket is made again without anybody noticing but the log: deliveries and their
//! tags stay valid, requests that were under way are repeated as far as repeating is safe.
#![forbid(unsafe_code)]

mod active_queue;
mod answers;
mod bind;
mod binding;
mod brpop;
mod channel;
mod channel_core;
mod confirm;
mod connection;
mod consumer;
#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test that cannot go on stops")]
mod cost;
mod cycle;
mod declare;
mod define;
mod definition;
mod delete;
mod deliver;
mod due;
mod dying;
mod envelope;
mod glob;
mod history;
mod identity;
mod keeper;
mod keys;
mod lease;
mod ledger;
mod letters;
mod listen;
mod log_limit;
mod malformed;
mod max_hold;
mod multi_channel_poller;
mod options;
mod policies;
mod popped;
mod publish;
mod push;
mod push_back;
mod refused;
mod registry;
mod request;
mod restore;
mod route_cache;
mod route_check;
mod routes;
mod scripts;
mod session;
mod settle;
mod standing;
mod sweep;
mod tags;
mod take;
mod together;
mod topology;
mod transport;
mod unacked;
mod waiters;
mod watch;
#[cfg(test)]
#[path = "../tests/wire/mod.rs"]
mod wire;

pub use transport::register;
