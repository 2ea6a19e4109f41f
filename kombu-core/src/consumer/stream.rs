//! The asynchronous face of a consumer.

use std::future::poll_fn;
use std::pin::Pin;
use std::task::{Context, Poll};

use futures_core::Stream;

use super::Consumer;
use crate::error::Result;
use crate::message::Message;

/// A consumer as a stream of messages, for any executor.
///
/// Made by [`ConsumerBuilder::stream`](super::ConsumerBuilder::stream). At most the prefetch waits in it. Dropping it cancels the
/// consumer and gives back what it holds. An item is an error when the broker ended the consumer (its queue was deleted); the
/// stream ends after it. A lost connection is no such end: the stream goes on when the broker is back.
#[derive(Debug)]
#[must_use = "a stream does nothing unless it is polled"]
pub struct MessageStream {
    consumer: Consumer,
}

impl MessageStream {
    pub(super) fn new(consumer: Consumer) -> Self {
        MessageStream { consumer }
    }

    /// Returns the next message, or `None` when the consumer ended; what `StreamExt::next` does, without the import.
    ///
    /// Cancellation safe: a message is taken only when it is returned.
    ///
    /// # Errors
    ///
    /// Why the broker ended the consumer; told once.
    pub async fn next(&mut self) -> Option<Result<Message>> {
        poll_fn(|cx| self.consumer.core().poll_next(cx)).await
    }

    /// Returns the consumer behind the stream, for cancelling it.
    pub fn consumer(&self) -> &Consumer {
        &self.consumer
    }
}

impl Stream for MessageStream {
    type Item = Result<Message>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Message>>> {
        self.consumer.core().poll_next(cx)
    }
}
