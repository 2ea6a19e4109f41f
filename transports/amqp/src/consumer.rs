//! One consumer: what comes in is handed to its sink.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::task::{Context, Poll};

use futures_util::StreamExt;
use kombu_core::{ConsumerTag, Delivery, DeliverySink, Error, ErrorKind, Scope};

use crate::channel_core::ChannelCore;
use crate::client::Incoming;

/// A consumer on a channel.
pub(crate) struct Consumer {
    pub(crate) tag: ConsumerTag,
    sink: Arc<dyn DeliverySink>,
    incoming: Mutex<Option<Incoming>>,
    /// Its deliveries count as settled.
    no_ack: bool,
    /// It is being ended from this side.
    is_ending: AtomicBool,
}

/// What a look at the deliveries found besides them.
enum Found {
    /// More, left for the next look.
    More,
    /// Nothing more for now.
    Nothing,
    /// The end, and why if the channel died.
    End(Option<Error>),
}

impl Consumer {
    pub(crate) fn new(tag: ConsumerTag, sink: Arc<dyn DeliverySink>, incoming: Incoming, no_ack: bool) -> Arc<Self> {
        let incoming = Mutex::new(Some(incoming));
        Arc::new(Consumer { tag, sink, incoming, no_ack, is_ending: AtomicBool::new(false) })
    }

    /// Hands over what comes in until there is no more.
    pub(crate) async fn run(self: Arc<Self>, channel: Weak<ChannelCore>) {
        let mut batch = Vec::new();
        let why = std::future::poll_fn(|cx| {
            let Some(channel) = channel.upgrade() else { return Poll::Ready(None) };
            match self.deliver(&channel, cx, &mut batch) {
                Found::More => {
                    // Others on the hub have their turn.
                    cx.waker().wake_by_ref();
                    Poll::Pending
                }
                Found::Nothing => Poll::Pending,
                Found::End(why) => Poll::Ready(why),
            }
        })
        .await;
        let Some(channel) = channel.upgrade() else { return };
        match why {
            Some(error) if error.scope() == Scope::Connection => channel.session.failed(error),
            Some(error) => channel.died(error),
            None if self.is_ending.load(Ordering::Acquire) || channel.is_over() => {}
            None => {
                channel.consumers().retain(|known| !Arc::ptr_eq(known, &self));
                let text = "the broker ended the consumer: its queue was deleted, or is moving to another node";
                self.sink.cancelled(Error::new(ErrorKind::NotFound, text).with("consumer_tag", &self.tag));
            }
        }
    }

    /// Hands over what is there.
    fn deliver(&self, channel: &ChannelCore, cx: &mut Context<'_>, batch: &mut Vec<Delivery>) -> Found {
        let found = {
            // Nothing panics while the lock is held; a poisoned stream is as good as any.
            let mut incoming = self.incoming.lock().unwrap_or_else(PoisonError::into_inner);
            let Some(stream) = &mut *incoming else { return Found::End(None) };
            loop {
                if batch.len() >= BATCH {
                    break Found::More;
                }
                match stream.poll_next_unpin(cx) {
                    Poll::Ready(Some(Ok(delivery))) => batch.push(delivery),
                    Poll::Ready(Some(Err(error))) => break Found::End(Some(error)),
                    Poll::Ready(None) => break Found::End(None),
                    Poll::Pending => break Found::Nothing,
                }
            }
        };
        if !batch.is_empty() {
            channel.delivered(batch, self.no_ack);
            self.sink.deliver_all(batch);
        }
        found
    }

    /// Says that it ends from this side.
    pub(crate) fn end(&self) {
        self.is_ending.store(true, Ordering::Release);
    }

    /// Hands over what came before the broker ended it; after that its sink gets nothing more.
    pub(crate) fn finish(&self, channel: &ChannelCore) {
        let mut batch = Vec::new();
        while let Found::More = self.deliver(channel, &mut Context::from_waker(std::task::Waker::noop()), &mut batch) {}
        // As above; dropped with the lock released.
        let stream = self.incoming.lock().unwrap_or_else(PoisonError::into_inner).take();
        drop(stream);
    }
}

/// How many deliveries are handed over before others on the hub have their turn.
const BATCH: usize = 256;
