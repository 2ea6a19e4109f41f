//! What went wrong, in our words.

use kombu_core::{Error, ErrorKind, Recovery, Scope};
use lapin::{ChannelState, ConnectionState};

/// Turns an error of lapin into ours: what happened, and how much died with it.
pub(super) fn read(error: &lapin::Error) -> Error {
    match error.kind() {
        lapin::ErrorKind::ProtocolError(refusal) => refused(refusal.get_id(), refusal.get_message().as_str()),
        lapin::ErrorKind::IOError(cause) | lapin::ErrorKind::RuntimeShutdownError(cause) => lost(cause.to_string()),
        lapin::ErrorKind::MissingHeartbeatError => {
            lost("the broker gave no sign of life for two heartbeats".to_owned())
        }
        lapin::ErrorKind::InvalidConnectionState(ConnectionState::Closing | ConnectionState::Closed) => {
            lost("the connection is closed".to_owned())
        }
        lapin::ErrorKind::InvalidConnectionState(state) => lost(format!("the connection is in state {state:?}")),
        lapin::ErrorKind::InvalidChannelState(ChannelState::Error, _) => lost("the connection is lost".to_owned()),
        lapin::ErrorKind::InvalidChannelState(..) | lapin::ErrorKind::InvalidChannel(_) => channel_gone(),
        lapin::ErrorKind::ChannelsLimitReached => {
            Error::new(ErrorKind::Overloaded, "the connection has as many channels as the broker allows")
        }
        lapin::ErrorKind::AuthProviderError(text) => Error::new(ErrorKind::AccessRefused, text.clone()),
        _ => Error::new(ErrorKind::Protocol, error.to_string()).in_scope(Scope::Connection),
    }
}

/// The broker closed a channel or the connection, with AMQP's reply code.
fn refused(code: u16, text: &str) -> Error {
    let (kind, scope, recovery) = match code {
        311 => (ErrorKind::InvalidArgument, Scope::Channel, Recovery::Never),
        404 => (ErrorKind::NotFound, Scope::Channel, Recovery::Never),
        // Whoever holds it may be our own last connection, which the broker does not know to be lost yet.
        403 if text.contains("exclusive use") => (ErrorKind::AccessRefused, Scope::Channel, Recovery::Retry),
        403 => (ErrorKind::AccessRefused, Scope::Channel, Recovery::Never),
        405 => (ErrorKind::ResourceLocked, Scope::Channel, Recovery::Retry),
        406 => (ErrorKind::PreconditionFailed, Scope::Channel, Recovery::Never),
        320 | 541 => (ErrorKind::ConnectionLost, Scope::Connection, Recovery::Reconnect),
        402 | 530 => (ErrorKind::AccessRefused, Scope::Connection, Recovery::Never),
        506 => (ErrorKind::Overloaded, Scope::Connection, Recovery::Retry),
        540 => (ErrorKind::Unsupported, Scope::Connection, Recovery::Never),
        _ => (ErrorKind::Protocol, Scope::Connection, Recovery::Never),
    };
    let hint = if code == 501 && text.starts_with("frame too large") { "; it needs a larger `frame_max`" } else { "" };
    Error::new(kind, format!("{code} {text}{hint}")).in_scope(scope).recoverable_by(recovery)
}

/// The connection is lost.
pub(super) fn lost(why: String) -> Error {
    Error::new(ErrorKind::ConnectionLost, why).in_scope(Scope::Connection)
}

/// The channel is gone, or the delivery came from one that is.
pub(crate) fn channel_gone() -> Error {
    Error::new(ErrorKind::ChannelGone, "the channel is gone; the broker gives what it held to somebody again")
        .in_scope(Scope::Channel)
}
