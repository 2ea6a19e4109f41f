//! How a consumer is described.

use super::core::{ConsumerCore, Face};
use super::{Consumer, MessageStream};
use crate::connection::Connection;
use crate::entity::Queue;
use crate::error::{Error, ErrorKind};
use crate::message::Message;
use crate::pending::Pending;
use crate::qos::Qos;
use crate::serialization::AcceptList;

pub(super) type Handler = Box<dyn FnMut(Message) -> Result<(), String> + Send>;

/// What a consumer reads: one queue or several.
pub trait IntoQueues {
    /// Returns the queues.
    fn into_queues(self) -> Vec<Queue>;
}

impl IntoQueues for Queue {
    fn into_queues(self) -> Vec<Queue> {
        vec![self]
    }
}

impl IntoQueues for &Queue {
    fn into_queues(self) -> Vec<Queue> {
        vec![self.clone()]
    }
}

impl IntoQueues for Vec<Queue> {
    fn into_queues(self) -> Vec<Queue> {
        self
    }
}

impl IntoQueues for &[Queue] {
    fn into_queues(self) -> Vec<Queue> {
        self.to_vec()
    }
}

impl<const N: usize> IntoQueues for [&Queue; N] {
    fn into_queues(self) -> Vec<Queue> {
        self.into_iter().cloned().collect()
    }
}

impl<const N: usize> IntoQueues for [Queue; N] {
    fn into_queues(self) -> Vec<Queue> {
        self.into()
    }
}

/// What a message handler may return: nothing, or a `Result` whose error is reported to the connection's event handler.
///
/// An error does not answer the message: one that the handler dropped goes back to its queue.
pub trait HandlerResult {
    /// Turns the error, if it is one, into its text.
    ///
    /// # Errors
    ///
    /// The handler's own error, as text.
    fn into_text(self) -> Result<(), String>;
}

impl HandlerResult for () {
    fn into_text(self) -> Result<(), String> {
        Ok(())
    }
}

impl<T, E: std::fmt::Display> HandlerResult for Result<T, E> {
    fn into_text(self) -> Result<(), String> {
        self.map(drop).map_err(|error| error.to_string())
    }
}

pub(super) struct ConsumerOptions {
    pub(super) qos: Qos,
    /// The program chose the window.
    pub(super) has_window: bool,
    pub(super) no_ack: Option<bool>,
    pub(super) exclusive: bool,
    pub(super) accept: AcceptList,
    pub(super) tag_prefix: String,
    pub(super) auto_declare: bool,
}

/// Describes a consumer; made by [`Connection::consumer`].
///
/// ```no_run
/// use kombu_core::{Connection, Queue};
///
/// let connection = Connection::new("memory://")?;
/// let consumer = connection
///     .consumer(Queue::new("videos"))
///     .prefetch(10)
///     .on_message(|message| {
///         println!("received: {:?}", message.text());
///         message.ack();
///     })
///     .consume()
///     .wait()?;
/// # drop(consumer);
/// # Ok::<(), kombu_core::Error>(())
/// ```
#[must_use = "a consumer starts at `consume` or `stream`"]
pub struct ConsumerBuilder {
    connection: Connection,
    queues: Vec<Queue>,
    handler: Option<Handler>,
    options: ConsumerOptions,
}

impl ConsumerBuilder {
    pub(crate) fn new(connection: &Connection, queues: impl IntoQueues) -> Self {
        ConsumerBuilder {
            connection: connection.clone(),
            queues: queues.into_queues(),
            handler: None,
            options: ConsumerOptions {
                qos: Qos::default(),
                has_window: false,
                no_ack: None,
                exclusive: false,
                accept: connection.inner.options.accept.clone(),
                tag_prefix: String::from("ctag"),
                auto_declare: true,
            },
        }
    }

    /// Adds a queue.
    pub fn queue(mut self, queue: &Queue) -> Self {
        self.queues.push(queue.clone());
        self
    }

    /// Calls `handler` with each message, one at a time, on the thread of the connection's callbacks.
    ///
    /// The handler may publish, declare, answer other messages, and `.wait()` for any of it. It owes each message an answer; an
    /// error it returns and a panic are reported, and what it dropped goes back.
    pub fn on_message<R: HandlerResult>(mut self, mut handler: impl FnMut(Message) -> R + Send + 'static) -> Self {
        self.handler = Some(Box::new(move |message| handler(message).into_text()));
        self
    }

    /// Sets how many messages may be here unanswered; default 256. 0 means no limit: a backlog of any size is then read into
    /// memory.
    pub fn prefetch(mut self, count: u16) -> Self {
        self.options.qos.prefetch_count = count;
        self.options.has_window = true;
        self
    }

    /// Takes messages as answered when they are sent; overrides the queues' own setting.
    pub fn no_ack(mut self, no_ack: bool) -> Self {
        self.options.no_ack = Some(no_ack);
        self
    }

    /// Refuses other consumers on the queues.
    pub fn exclusive(mut self) -> Self {
        self.options.exclusive = true;
        self
    }

    /// Sets the content types that [`Message::payload`] decodes; default the connection's.
    pub fn accept(mut self, accept: AcceptList) -> Self {
        self.options.accept = accept;
        self
    }

    /// Sets how consumer tags begin; default `ctag`.
    pub fn tag_prefix(mut self, prefix: impl Into<String>) -> Self {
        self.options.tag_prefix = prefix.into();
        self
    }

    /// Sets whether queues are declared before they are consumed; default yes.
    pub fn auto_declare(mut self, declare: bool) -> Self {
        self.options.auto_declare = declare;
        self
    }

    /// Starts consuming, with the handler of [`on_message`](ConsumerBuilder::on_message).
    pub fn consume(self) -> Pending<Consumer> {
        let Some(handler) = self.handler else {
            return Pending::ready(Err(Error::new(
                ErrorKind::InvalidArgument,
                "a consumer needs `on_message`, or `stream()` instead of `consume()`",
            )));
        };
        if self.queues.is_empty() {
            return Pending::ready(Err(super::core::without_queues()));
        }
        let hub = match self.connection.inner.user_hub() {
            Ok(hub) => hub,
            Err(error) => return Pending::ready(Err(error.during("basic.consume"))),
        };
        let face = Face::callback(handler, hub);
        ConsumerCore::launch(self.connection, self.queues, self.options, face)
    }

    /// Starts consuming, with the messages as a [`Stream`](futures_core::Stream).
    pub fn stream(self) -> Pending<MessageStream> {
        if self.handler.is_some() {
            return Pending::ready(Err(Error::new(
                ErrorKind::InvalidArgument,
                "a consumer has either `on_message` or `stream()`, not both",
            )));
        }
        ConsumerCore::launch(self.connection, self.queues, self.options, Face::Stream).map(MessageStream::new)
    }
}

impl std::fmt::Debug for ConsumerBuilder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let names: Vec<_> = self.queues.iter().map(Queue::name).collect();
        write!(f, "ConsumerBuilder({names:?})")
    }
}
