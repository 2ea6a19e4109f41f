//! Setting messages aside: a copy goes to the queue's malformed queue, and when the broker has it the message is done with.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use kombu_core::method::{BasicGet, BasicPublish, QueueDeclare};
use kombu_core::{
    Confirmation, Delivery, Envelope, Error, ErrorKind, Malformed, Result, Scope, Settled, ShortStr, reply,
};

use crate::channel_core::ChannelCore;
use crate::lapin::channel_gone;
use crate::malformed;
use crate::publish::Publisher;
use crate::session::within;

/// What a channel is setting aside.
pub(crate) struct Asides {
    /// Publishes the copies. Nobody publishes again what it has no answer for: the broker delivers the message again.
    publisher: Arc<Publisher>,
    /// The malformed queues that exist. Held while one is declared, so that it is declared once.
    declared: futures_util::lock::Mutex<HashSet<ShortStr>>,
    under_way: Mutex<UnderWay>,
}

#[derive(Default)]
struct UnderWay {
    count: usize,
    waiting: Vec<reply::ReplySender<()>>,
}

impl Asides {
    pub(crate) fn new(publisher: Arc<Publisher>) -> Self {
        Asides { publisher, declared: futures_util::lock::Mutex::default(), under_way: Mutex::default() }
    }

    /// Waits until nothing is under way, and ends.
    pub(crate) async fn close(&self, core: &ChannelCore, patience: Duration) {
        let done = {
            let mut under_way = self.lock();
            (under_way.count > 0).then(|| {
                let (sender, done) = reply::channel();
                under_way.waiting.push(sender);
                done
            })
        };
        if let Some(done) = done.filter(|_| core.session.ended().is_none()) {
            within(&core.session.handle, patience, done).await;
        }
        self.publisher.close(patience).await;
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, UnderWay> {
        // Nothing panics while the lock is held; a poisoned count is as good as any.
        self.under_way.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn begin(&self) {
        self.lock().count += 1;
    }

    fn end(&self) {
        let waiting = {
            let mut under_way = self.lock();
            under_way.count -= 1;
            if under_way.count > 0 { Vec::new() } else { std::mem::take(&mut under_way.waiting) }
        };
        drop(waiting);
    }
}

impl ChannelCore {
    /// Sets a delivery from `queue` aside. One that cannot be goes back to its queue after a while, and that is told.
    pub(crate) fn set_aside(self: &Arc<Self>, delivery: &Delivery, queue: &ShortStr, reason: &str) -> Settled {
        if self.is_taken_back(delivery.tag) {
            return self.settle("set aside", delivery.tag, |_| Ok(()));
        }
        let copy = malformed::copy(&delivery.envelope, queue, reason, self.session.system_time());
        let (core, tag, queue) = (Arc::clone(self), delivery.tag, queue.clone());
        let (sender, settled) = reply::channel();
        self.asides().begin();
        drop(self.session.handle.spawn(async move {
            let kept = core.keep(Arc::new(copy)).await;
            let result = match kept {
                Ok(()) => core.settle_now("set aside", tag, |core| core.ack_soon(tag)),
                Err(error) => Err(error.during("set aside").with("queue", &queue)),
            };
            core.asides().end();
            let failed = result.as_ref().err().map(Error::duplicate);
            sender.send(result);
            // Of a channel that is gone the broker delivers again what it held.
            let Some(error) = failed.filter(|_| !core.is_over()) else { return };
            core.tell_failed(error);
            core.session.handle.sleep(PAUSE).await;
            if !core.is_over() {
                // Told if it fails.
                drop(core.settle("basic.nack", tag, |core| {
                    core.settle_in_turn(tag, false, |client| client.nack(tag, false, true))
                }));
            }
        }));
        Settled::reply(settled)
    }

    /// Publishes `copy` to the malformed queue that its routing key names.
    async fn keep(&self, copy: Arc<Envelope>) -> Result<()> {
        let queue = &copy.routing_key;
        loop {
            let (is_new, declared) = self.declare_aside(queue).await;
            if let Err(error) = declared.as_ref().map_err(Error::duplicate)
                && error.scope() == Scope::Connection
            {
                return Err(error);
            }
            let method = BasicPublish { mandatory: true, timeout: Some(PATIENCE) };
            match self.asides().publisher.publish(method, Arc::clone(&copy)).await? {
                Confirmation::Confirmed { .. } => return Ok(()),
                Confirmation::Returned(_) => {
                    self.asides().declared.lock().await.remove(queue);
                    if is_new {
                        let gone = || Error::new(ErrorKind::NotFound, "the queue for what is set aside does not stay");
                        return Err(declared.err().unwrap_or_else(gone).with("malformed", queue));
                    }
                    // Somebody deleted it since it was declared.
                }
            }
        }
    }

    /// Declares a malformed queue, unless that was done; says whether it was new.
    async fn declare_aside(&self, queue: &ShortStr) -> (bool, Result<()>) {
        let mut known = self.asides().declared.lock().await;
        if known.contains(queue) {
            return (false, Ok(()));
        }
        let method = QueueDeclare { queue: queue.clone(), durable: true, ..QueueDeclare::default() };
        let declaring = async {
            let channel = self.session.main()?.open_channel().await?;
            channel.queue_declare(method).await?;
            channel.close().await
        };
        match self.session.answer(declaring).await {
            // It exists, as somebody else wanted it.
            Ok(()) => {}
            Err(error) if error.kind() == ErrorKind::PreconditionFailed => {}
            // It may exist all the same; publishing will tell.
            Err(error) => return (true, Err(error)),
        }
        known.insert(queue.clone());
        (true, Ok(()))
    }

    /// Returns what was set aside from `queue`, leaving it there.
    pub(crate) async fn malformed(&self, queue: ShortStr, limit: u32) -> Result<Vec<Malformed>> {
        if self.is_over() {
            return Err(self.session.ended().unwrap_or_else(channel_gone).during("malformed"));
        }
        let aside = malformed::queue_name(&queue);
        let fetching = async {
            // One of its own: where nothing was ever set aside there is no queue, and to ask for it ends the channel.
            let channel = self.session.main()?.open_channel().await?;
            let mut found = Vec::new();
            let mut last = None;
            while found.len() < usize::try_from(limit).unwrap_or(usize::MAX) {
                let Some(kept) = channel.basic_get(BasicGet { queue: aside.clone(), no_ack: false }).await? else {
                    break;
                };
                found.push(malformed::read(&queue, &kept));
                last = Some(kept.tag);
            }
            if let Some(last) = last {
                channel.nack(last, true, true)?;
            }
            channel.close().await?;
            Ok(found)
        };
        match self.session.answer(fetching).await {
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(Vec::new()),
            Err(error) => Err(error.during("malformed").with("queue", &queue)),
            found => found,
        }
    }
}

/// How long the copy of a message may take to the broker.
const PATIENCE: Duration = Duration::from_secs(30);
/// How long a message that cannot be set aside is held: given back at once it would come back at once.
const PAUSE: Duration = Duration::from_secs(5);
