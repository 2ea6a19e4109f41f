//! One broker connection through lapin.

use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use async_rs::Runtime;
use async_trait::async_trait;
use futures_util::StreamExt;
use futures_util::future::{Either, select};
use kombu_core::hub::{HubHandle, instant_after};
use kombu_core::{Error, ErrorKind, Recovery, Result, Scope, ShortStr};
use lapin::tcp::AsyncTcpStream;
use lapin::uri::{AMQPAuthority, AMQPQueryString, AMQPScheme, AMQPUri, AMQPUserInfo, SASLMechanism};
use lapin::{Connection, ConnectionProperties, Event};

use super::channel::LapinChannel;
use super::runtime::HubRuntime;
use super::socket::Killer;
use super::{dial, error};
use crate::client::{Client, ClientChannel, ClientEvents};
use crate::options::{AmqpOptions, LoginMethod};

/// Connects on the hub of `handle`, as `options` say. Given up, it leaves nothing behind.
///
/// # Errors
///
/// `ConnectionLost` when nobody answers, `AccessRefused` for wrong credentials, an unknown virtual host or a certificate that is
/// not trusted.
pub(crate) async fn connect(
    options: &Arc<AmqpOptions>,
    handle: &HubHandle,
    events: Weak<dyn ClientEvents>,
) -> Result<Arc<dyn Client>> {
    let killer = Killer::default();
    let attempt = Attempt { killer: killer.clone(), is_armed: true };
    let refusal: Arc<Mutex<Option<Error>>> = Arc::default();
    let dialing = {
        let (options, handle, killer, refusal) =
            (Arc::clone(options), handle.clone(), killer.clone(), Arc::clone(&refusal));
        async move |_: AMQPUri, _: Runtime<HubRuntime>| match dial::dial(&options, &handle, &killer).await {
            Ok(stream) => Ok(AsyncTcpStream::Plain(stream)),
            Err(error) => {
                let text = error.to_string();
                *refusal.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
                Err(lapin::Error::from(std::io::Error::other(text)))
            }
        }
    };
    let runtime = Runtime::new(HubRuntime::new(handle));
    let connected = Connection::connector(uri(options), runtime, dialing, properties(options)).await;
    let connection = match connected {
        Ok(connection) => connection,
        Err(error) => {
            let told = refusal.lock().unwrap_or_else(PoisonError::into_inner).take();
            return Err(told.unwrap_or_else(|| not_let_in(&error)));
        }
    };
    attempt.succeed();
    let heartbeat = Duration::from_secs(u64::from(connection.configuration().heartbeat()));
    drop(handle.spawn(listen(connection.events_listener().boxed(), killer.clone(), events)));
    drop(handle.spawn(watch_hub(handle.clone(), heartbeat, killer.clone())));
    Ok(Arc::new(LapinConnection { connection, killer }))
}

struct LapinConnection {
    connection: Connection,
    killer: Killer,
}

#[async_trait]
impl Client for LapinConnection {
    async fn open_channel(&self) -> Result<Arc<dyn ClientChannel>> {
        let mut has_spoilt = false;
        loop {
            match self.connection.create_channel().await {
                Ok(channel) => {
                    return Ok(Arc::new(LapinChannel::new(channel, self.connection.configuration().frame_max())));
                }
                // No broker says that of a channel that is not open yet: lapin keeps the error that ended an earlier channel of that
                // number, sends nothing under it any more, and takes the next number at the next call.
                Err(error) if is_spoilt(&error) => has_spoilt = true,
                Err(error) => {
                    let error = error::read(&error);
                    if error.kind() == ErrorKind::Overloaded && has_spoilt {
                        return Err(error::lost("the broker has ended a channel of each number by now".to_owned()));
                    }
                    return Err(error);
                }
            }
        }
    }

    fn is_blocked(&self) -> bool {
        self.connection.status().blocked()
    }

    async fn close(&self) -> Result<()> {
        if !self.connection.status().connected() {
            return Ok(());
        }
        self.connection.close(200, "OK".into()).await.map_err(|error| error::read(&error))
    }

    fn kill(&self) {
        self.killer.kill();
    }
}

impl Drop for LapinConnection {
    fn drop(&mut self) {
        self.killer.kill();
    }
}

/// Ends an attempt that is given up half-way: lapin's thread would wait for ever.
struct Attempt {
    killer: Killer,
    is_armed: bool,
}

impl Attempt {
    fn succeed(mut self) {
        self.is_armed = false;
    }
}

impl Drop for Attempt {
    fn drop(&mut self) {
        if self.is_armed {
            self.killer.kill();
        }
    }
}

/// Passes on what lapin tells until the connection ends.
async fn listen(
    mut told: futures_util::stream::BoxStream<'static, Event>,
    killer: Killer,
    events: Weak<dyn ClientEvents>,
) {
    loop {
        let next = match select(told.next(), std::pin::pin!(killer.killed())).await {
            Either::Left((next, _)) => next,
            Either::Right(_) => return,
        };
        let (Some(event), Some(events)) = (next, events.upgrade()) else { return };
        match event {
            Event::ConnectionBlocked(reason) => events.blocked(Some(ShortStr::from(reason))),
            Event::ConnectionUnblocked => events.blocked(None),
            Event::Error(error) => events.failed(error::read(&error)),
            _ => {}
        }
    }
}

/// Warns when the hub's thread was busy for longer than half a heartbeat: no heartbeat is sent meanwhile, and after two of
/// them the broker gives the connection up.
async fn watch_hub(handle: HubHandle, heartbeat: Duration, killer: Killer) {
    let half = heartbeat / 2;
    if half.is_zero() {
        return;
    }
    loop {
        let due = instant_after(handle.now(), half);
        if let Either::Right(_) = select(handle.sleep_until(due), std::pin::pin!(killer.killed())).await {
            return;
        }
        let late = handle.now().saturating_duration_since(due);
        if late > half {
            tracing::warn!(
                ?late,
                ?heartbeat,
                "a callback held up the hub's thread for longer than half a heartbeat; after two the broker gives the \
                 connection up: shorten it, or set IoPlacement::Dedicated"
            );
        }
        if handle.is_closed() {
            return;
        }
    }
}

/// Says whether the number of a channel that was to be opened is that of one which the broker closed.
fn is_spoilt(error: &lapin::Error) -> bool {
    matches!(error.kind(), lapin::ErrorKind::ProtocolError(_)) && error::read(error).scope() == Scope::Channel
}

/// A refusal while the connection is made is one of the connection.
fn not_let_in(error: &lapin::Error) -> Error {
    if let lapin::ErrorKind::IOError(cause) = error.kind() {
        return error::lost(format!(
            "the other end hung up before it let us in ({cause}): it may be no AMQP broker, want TLS (amqps://), or be just \
             starting"
        ));
    }
    let error = error::read(error);
    match error.kind() {
        ErrorKind::AccessRefused => error.in_scope(Scope::Connection).recoverable_by(Recovery::Never),
        _ => error.in_scope(Scope::Connection),
    }
}

fn uri(options: &AmqpOptions) -> AMQPUri {
    let userinfo = AMQPUserInfo { username: options.username.clone(), password: options.password.reveal().to_owned() };
    AMQPUri {
        // TLS is ours, under lapin.
        scheme: AMQPScheme::AMQP,
        authority: AMQPAuthority { userinfo, host: options.host.clone(), port: options.port },
        vhost: options.virtual_host.clone(),
        query: AMQPQueryString {
            frame_max: Some(options.frame_max),
            channel_max: options.channel_max,
            heartbeat: options.heartbeat,
            connection_timeout: None,
            auth_mechanism: Some(match options.login_method {
                LoginMethod::Plain => SASLMechanism::Plain,
                LoginMethod::AmqPlain => SASLMechanism::AMQPlain,
                LoginMethod::External => SASLMechanism::External,
            }),
        },
    }
}

fn properties(options: &AmqpOptions) -> ConnectionProperties {
    let mut properties = ConnectionProperties::default()
        .with_client_property("product".into(), "Kombu for Rust".into())
        .with_client_property("version".into(), env!("CARGO_PKG_VERSION").into());
    if let Some(name) = &options.connection_name {
        properties = properties.with_connection_name(name.as_str().into());
    }
    properties
}
