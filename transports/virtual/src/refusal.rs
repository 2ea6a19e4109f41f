//! The errors of the broker, with RabbitMQ's meaning: an error of scope `Channel` ends the channel.

use kombu_core::{Error, ErrorKind, Outcome, Recovery, Scope};

/// AMQP 404.
#[cold]
pub(crate) fn not_found(what: &'static str, name: &str) -> Error {
    in_channel(ErrorKind::NotFound, format!("there is no {what} of that name")).with(what, name)
}

/// AMQP 406 for a declaration that says something else than the one before; 405 where one of them says `exclusive`.
#[cold]
pub(crate) fn differs(what: &'static str, name: &str, property: &'static str) -> Error {
    let kind = if property == "exclusive" { ErrorKind::ResourceLocked } else { ErrorKind::PreconditionFailed };
    in_channel(kind, format!("the {what} exists with another `{property}`")).with(what, name).with("argument", property)
}

/// AMQP 406.
#[cold]
pub(crate) fn precondition(what: &'static str, name: &str, message: &'static str) -> Error {
    in_channel(ErrorKind::PreconditionFailed, message).with(what, name)
}

/// AMQP 406 for an argument of a declaration that cannot be.
#[cold]
pub(crate) fn invalid_argument(what: &'static str, name: &str, argument: &str, why: &'static str) -> Error {
    in_channel(ErrorKind::PreconditionFailed, format!("invalid `{argument}`: {why}"))
        .with(what, name)
        .with("argument", argument)
}

/// The queue is full and refuses what is new.
#[cold]
pub(crate) fn full(queue: &str) -> Error {
    Error::new(ErrorKind::Nacked, "the queue is full and refuses new messages")
        .with("queue", queue)
        .with_outcome(Outcome::Unknown)
}

/// AMQP 530: the connection ends.
#[cold]
pub(crate) fn tag_in_use(tag: &str) -> Error {
    Error::new(ErrorKind::AccessRefused, "the channel has a consumer of that tag already")
        .in_scope(Scope::Connection)
        .with("consumer_tag", tag)
}

/// AMQP 406 for a delivery tag.
#[cold]
pub(crate) fn unknown_tag(tag: impl std::fmt::Display) -> Error {
    in_channel(ErrorKind::PreconditionFailed, "no unsettled delivery of this channel has that tag")
        .with("delivery_tag", tag)
}

/// AMQP 405.
#[cold]
pub(crate) fn locked(queue: &str) -> Error {
    in_channel(ErrorKind::ResourceLocked, "the queue belongs to another connection exclusively").with("queue", queue)
}

/// AMQP 403.
#[cold]
pub(crate) fn refused(what: &'static str, name: &str, message: &'static str) -> Error {
    in_channel(ErrorKind::AccessRefused, message).with(what, name)
}

/// Something this layer does not do yet; refused rather than ignored.
#[cold]
pub(crate) fn unsupported(capability: &'static str, argument: &str) -> Error {
    Error::new(ErrorKind::Unsupported, format!("the transport does not support `{argument}`"))
        .with("capability", capability)
}

/// The channel a delivery or call belongs to has ended, for `reason` if the broker ended it.
#[cold]
pub(crate) fn gone(kind: ErrorKind, reason: Option<&Error>) -> Error {
    let error = Error::new(kind, "the channel is closed").in_scope(Scope::Channel);
    match reason {
        Some(reason) => error.with("reason", reason).recoverable_by(Recovery::ReopenChannel),
        None => error,
    }
}

/// What the consumers of a deleted queue are told.
#[cold]
pub(crate) fn queue_deleted(queue: &str) -> Error {
    Error::new(ErrorKind::NotFound, "the queue was deleted").during("basic.cancel").with("queue", queue)
}

#[cold]
fn in_channel(kind: ErrorKind, message: impl Into<std::borrow::Cow<'static, str>>) -> Error {
    Error::new(kind, message).in_scope(Scope::Channel)
}
