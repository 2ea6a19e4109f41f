//! The state behind a consumer.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::task::{Context, Poll};

use super::Consumer;
use super::builder::{ConsumerOptions, Handler};
use super::inbox::{Inbox, News, Origins};
use super::sink::Sink;
use super::watch::Watch;
use crate::connection::{Connection, ConnectionEvent, Inner, Late, Live, Observer};
use crate::delivery::{ConsumerTag, Delivery};
use crate::entity::Queue;
use crate::error::{Error, ErrorKind, Recovery, Result, Scope};
use crate::hub::{Hub, HubHandle, Scheduled};
use crate::message::{HeldChannel, Message, Origin};
use crate::method::BasicConsume;
use crate::pending::Pending;
use crate::run::Run;
use crate::short_str::ShortStr;

/// How many messages a callback gets before others on the hub have their turn.
const BUDGET: usize = 64;

/// What is on the application's side of the inbox.
pub(super) enum Face {
    /// A stream pulls.
    Stream,
    /// A callback is called on this hub.
    Callback(Box<Callback>),
}

pub(super) struct Callback {
    hub: HubHandle,
    /// `None` while it runs.
    worker: Mutex<Option<Worker>>,
}

/// The handler and the messages it took out of the inbox in one go.
struct Worker {
    handler: Handler,
    taken: VecDeque<(u32, Delivery)>,
    origins: Origins<Arc<Origin>>,
}

impl Face {
    pub(super) fn callback(handler: Handler, hub: HubHandle) -> Self {
        let worker = Worker { handler, taken: VecDeque::new(), origins: Origins::default() };
        Face::Callback(Box::new(Callback { hub, worker: Mutex::new(Some(worker)) }))
    }
}

/// One consumer: its queues, its channel, what waits, and the application's face.
pub(crate) struct ConsumerCore {
    inner: Weak<Inner>,
    queues: Vec<Queue>,
    options: ConsumerOptions,
    pub(super) inbox: Inbox,
    face: Face,
    running: Mutex<Option<Running>>,
}

/// What a start on one channel made.
struct Running {
    channel: Arc<HeldChannel>,
    tags: Vec<ConsumerTag>,
}

impl ConsumerCore {
    pub(super) fn launch(
        connection: Connection,
        queues: Vec<Queue>,
        options: ConsumerOptions,
        face: Face,
    ) -> Pending<Consumer> {
        if queues.is_empty() {
            return Pending::ready(Err(without_queues()));
        }
        let inner = Arc::clone(&connection.inner);
        let core = Arc::new(ConsumerCore {
            inner: Arc::downgrade(&inner),
            queues,
            options,
            inbox: Inbox::default(),
            face,
            running: Mutex::new(None),
        });
        let start = inner.operate("basic.consume", {
            let (inner, core) = (Arc::clone(&inner), Arc::clone(&core));
            move |live| {
                let (inner, core, live) = (Arc::clone(&inner), Arc::clone(&core), Arc::clone(live));
                Box::pin(async move {
                    core.start(&live).await?;
                    inner.add_consumer(&core);
                    Ok(())
                })
            }
        });
        // The handle goes with the answer: if that is given up, so is the consumer.
        let consumer = Consumer::new(core, connection);
        start.map(|()| consumer)
    }

    pub(super) fn queue_names(&self) -> Vec<&ShortStr> {
        self.queues.iter().map(Queue::name).collect()
    }

    /// Opens a channel and consumes every queue on it.
    pub(crate) async fn start(self: &Arc<Self>, live: &Arc<Live>) -> Result<()> {
        let inner = self.inner.upgrade().ok_or_else(|| Error::new(ErrorKind::Closed, "the connection is closed"))?;
        if self.inbox.is_finished() {
            return Ok(());
        }
        let first_origin = self.inbox.next_origin();
        self.inbox.forget_before(first_origin);
        let channel = HeldChannel::new(live.open_channel().await?, Some(inner.hub()?.clone()));
        let watch = Watch::new(self, live);
        let watching = Arc::clone(&watch);
        let held = Arc::downgrade(&channel);
        channel.observe(Observer::new(self.inner.clone(), move |inner, error| {
            if let Some(channel) = held.upgrade() {
                channel.mark_gone();
            }
            watching.closed(inner, error);
        }));
        let can = live.capabilities();
        if self.options.has_window {
            can.check_window(self.options.qos)?;
        }
        if can.prefetch.is_available() {
            channel.basic_qos(self.options.qos).await.map_err(of_own_channel)?;
        }
        let mut tags = Vec::with_capacity(self.queues.len());
        for queue in &self.queues {
            match self.consume_queue(&inner, live, &channel, queue).await {
                Ok(tag) => tags.push(tag),
                Err(error) => {
                    // It is given up; closing it gives back what came meanwhile.
                    let _ = channel.close().await;
                    return Err(error.with("queue", queue.name()));
                }
            }
        }
        if watch.arm().is_err() {
            return Err(Error::new(ErrorKind::ChannelGone, "the consumer's channel was lost while it started")
                .recoverable_by(Recovery::Retry));
        }
        if self.inbox.is_finished() {
            // It was cancelled meanwhile; closing the channel gives back what came.
            let _ = channel.close().await;
            return Ok(());
        }
        let running = Running { channel, tags };
        let old = self.running.lock().unwrap_or_else(PoisonError::into_inner).replace(running);
        drop(old);
        Ok(())
    }

    async fn consume_queue(
        self: &Arc<Self>,
        inner: &Arc<Inner>,
        live: &Arc<Live>,
        channel: &Arc<HeldChannel>,
        queue: &Queue,
    ) -> Result<ConsumerTag> {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        let name = if self.options.auto_declare && queue.is_declarable() {
            inner.declare_queue(live, queue).await?.queue
        } else {
            inner.topology.current_name(queue.name())
        };
        let no_ack = self.options.no_ack.unwrap_or(queue.is_no_ack());
        let origin = self.inbox.add_origin(Origin {
            channel: Arc::clone(channel),
            queue: name.clone(),
            no_ack,
            accept: self.options.accept.clone(),
            inner: self.inner.clone(),
            delivery_limit: inner.options.delivery_limit,
            warned: AtomicBool::new(false),
        });
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let method = BasicConsume {
            queue: name,
            consumer_tag: format!("{}{number}", self.options.tag_prefix).into(),
            no_ack,
            exclusive: self.options.exclusive,
            arguments: queue.consumer_arguments().clone(),
        };
        live.capabilities().check_consume(&method).map_err(|error| error.with("queue", &method.queue))?;
        let sink = Arc::new(Sink::new(Arc::clone(self), origin));
        channel.basic_consume(method, sink).await.map_err(of_own_channel)
    }

    pub(super) fn cancel(self: &Arc<Self>, inner: &Arc<Inner>) -> Pending<()> {
        let is_running = self.running.lock().unwrap_or_else(PoisonError::into_inner).is_some();
        if self.inbox.is_finished() && !is_running {
            return Pending::ready(Ok(()));
        }
        let core = Arc::clone(self);
        inner.in_turn("basic.cancel", inner.options.operation_timeout, Late::Done, move |_| {
            Box::pin(async move {
                let running = core.running.lock().unwrap_or_else(PoisonError::into_inner).take();
                let mut result = Ok(());
                if let Some(Running { channel, tags }) = running {
                    for tag in tags {
                        result = result.and(channel.basic_cancel(tag).await);
                    }
                }
                core.finish();
                result
            })
        })
    }

    /// Ends the consumer on this side: nothing more is handed over, what waits goes back.
    pub(crate) fn finish(&self) {
        self.inbox.finish(true);
    }

    /// Ends the consumer with its connection: what waits goes back when the channel closes.
    pub(crate) fn abandon(&self) {
        self.inbox.finish(false);
    }

    pub(super) fn poll_next(self: &Arc<Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Message>>> {
        let mut state = self.inbox.lock();
        while let Some(message) = state.pop() {
            drop(state);
            if message.is_still_ours() {
                return Poll::Ready(Some(Ok(message)));
            }
            message.leave_unacked();
            state = self.inbox.lock();
        }
        if let Some(error) = state.failure.take() {
            drop(state);
            self.finish();
            // Its other queues, if it has any, are still consumed at the broker.
            if let Some(inner) = self.inner.upgrade() {
                drop(self.cancel(&inner));
            }
            return Poll::Ready(Some(Err(error)));
        }
        if self.inbox.is_finished() {
            return Poll::Ready(None);
        }
        let old = match &state.waker {
            Some(waker) if waker.will_wake(cx.waker()) => None,
            _ => state.waker.replace(cx.waker().clone()),
        };
        drop(state);
        drop(old);
        Poll::Pending
    }

    /// Says whether a callback works off messages, whose runs catch up before they end.
    pub(super) fn has_runs(&self) -> bool {
        matches!(self.face, Face::Callback(_))
    }

    /// Hands over what came in: wakes the stream, or queues a run of the callback.
    #[inline]
    pub(super) fn notify(self: &Arc<Self>, news: News) {
        match &self.face {
            Face::Stream => {
                if let Some(waker) = news.waker {
                    waker.wake();
                }
            }
            Face::Callback(callback) => {
                if news.starts_run {
                    callback.hub.schedule(Arc::clone(self) as Arc<dyn Scheduled>);
                }
            }
        }
    }

    /// Calls the handler for up to a budget of messages; says whether there may be more.
    fn work(self: &Arc<Self>, worker: &mut Worker) -> bool {
        let mut run: Option<Run> = None;
        for _ in 0..BUDGET {
            if self.inbox.is_finished() {
                let taken = std::mem::take(&mut worker.taken);
                if self.inbox.gives_back() {
                    self.inbox.give_back(taken);
                }
                return false;
            }
            if worker.taken.is_empty() {
                self.refill(worker);
                if let Some(run) = run.as_ref().filter(|_| worker.taken.is_empty()) {
                    run.catch_up();
                    self.refill(worker);
                }
            }
            let Some((origin, delivery)) = worker.taken.pop_front() else { return false };
            // Nothing waited from an origin that was forgotten when this was taken.
            let Some(origin) = worker.origins.get(origin) else { continue };
            if origin.channel.is_gone() {
                // The broker delivers it again; handled now it would be handled twice.
                continue;
            }
            if !origin.no_ack && !origin.channel.still_has(delivery.tag) {
                // It is somebody else's by now.
                continue;
            }
            // One ends before the next one starts.
            run = run.filter(|run| run.is_on(&origin.channel));
            let run = run.get_or_insert_with(|| Run::start(&origin.channel));
            let message = Message::new(delivery, run.take(origin));
            match catch_unwind(AssertUnwindSafe(|| (worker.handler)(message))) {
                Ok(Ok(())) => {}
                Ok(Err(text)) => {
                    self.handler_failed(ErrorKind::InvalidState, format!("a message handler failed: {text}"))
                }
                Err(panic) => {
                    let text = panic_text(&*panic);
                    self.handler_failed(ErrorKind::Panicked, format!("a message handler panicked: {text}"));
                }
            }
        }
        true
    }

    /// Takes what waits; the worker has nothing left.
    fn refill(&self, worker: &mut Worker) {
        let mut state = self.inbox.lock();
        std::mem::swap(&mut state.waiting, &mut worker.taken);
        let known = (!worker.origins.is(&state.origins)).then(|| state.origins.clone());
        drop(state);
        if let Some(known) = known {
            worker.origins = known;
        }
    }

    #[cold]
    fn handler_failed(&self, kind: ErrorKind, text: String) {
        if let Some(inner) = self.inner.upgrade() {
            inner.emit(ConnectionEvent::HandlerFailed(Error::new(kind, text)));
        }
    }

    /// The broker ended the consumer, or its channel was lost alone.
    pub(crate) fn failed(self: &Arc<Self>, error: Error) {
        let Some(inner) = self.inner.upgrade() else { return };
        let waker = {
            let mut state = self.inbox.lock();
            if self.inbox.is_finished() {
                return;
            }
            if matches!(self.face, Face::Stream) {
                state.failure = Some(error.duplicate());
            }
            state.waker.take()
        };
        inner.emit(ConnectionEvent::ConsumerFailed(error));
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

#[cold]
pub(super) fn without_queues() -> Error {
    Error::new(ErrorKind::InvalidArgument, "a consumer needs a queue").during("basic.consume")
}

/// An error of the consumer's own channel says nothing of the connection's.
fn of_own_channel(error: Error) -> Error {
    if error.scope() == Scope::Channel {
        error.in_scope(Scope::Operation).recoverable_by(Recovery::Never)
    } else {
        error
    }
}

fn panic_text(panic: &(dyn std::any::Any + Send)) -> &str {
    panic
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("no text")
}

impl Scheduled for ConsumerCore {
    fn run(self: Arc<Self>, _hub: &dyn Hub) {
        let Face::Callback(callback) = &self.face else { return };
        let worker = callback.worker.lock().unwrap_or_else(PoisonError::into_inner).take();
        // A run is queued only while none is under way, so the worker is there.
        let Some(mut worker) = worker else { return };
        let may_have_more = self.work(&mut worker);
        *callback.worker.lock().unwrap_or_else(PoisonError::into_inner) = Some(worker);
        let goes_on = {
            let mut state = self.inbox.lock();
            // What a finished consumer has is no work: somebody gives it back.
            let has_work = !state.waiting.is_empty() && !self.inbox.is_finished();
            state.is_scheduled = may_have_more || has_work;
            state.is_scheduled
        };
        if goes_on {
            callback.hub.schedule(Arc::clone(&self) as Arc<dyn Scheduled>);
        }
    }
}
