//! The state of a channel.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Instant;

use indexmap::IndexMap;
use kombu_core::delivery::{ConsumerTag, Delivery};
use kombu_core::hub::{Hub, TimerHandle};
use kombu_core::{ChannelEvents, DeliveryTag, Error, ErrorKind, Malformed, Qos, Recovery, Scope, Settled};

use kombu_virtual::death::Reason;

use crate::consumer::{Consumer, Window};
use crate::deliver::Arrived;
use crate::publish::Unrouted;
use crate::session::{Session, is_closed};
use crate::settle::{Owners, Returning};
use crate::unacked::{Held, Place, Unacked};

/// A channel. Its state sits behind short mutexes that are never held while user code runs.
pub(crate) struct ChannelCore {
    pub(crate) id: u64,
    pub(crate) session: Arc<Session>,
    /// The window of the whole channel (`global`).
    pub(crate) window: Window,
    /// The window of consumers to come.
    prefetch: AtomicU32,
    pub(crate) publishes: Mutex<VecDeque<Unrouted>>,
    /// The earliest deadline of what was added to `publishes` since the timer was set.
    soonest: Mutex<Option<Instant>>,
    publish_timer: Mutex<Option<(Instant, TimerHandle)>>,
    state: Mutex<State>,
    /// Whether deliveries were withdrawn that wait to be handed to the application.
    has_withdrawn: AtomicBool,
    events: Mutex<Option<Arc<dyn ChannelEvents>>>,
}

#[derive(Default)]
struct State {
    ended: Option<Error>,
    unacked: Unacked,
    consumers: IndexMap<ConsumerTag, Arc<Consumer>>,
    next_consumer: u64,
}

impl ChannelCore {
    /// Makes an open channel.
    pub(crate) fn new(id: u64, session: Arc<Session>) -> Self {
        ChannelCore {
            id,
            session,
            window: Window::default(),
            prefetch: AtomicU32::new(u32::from(Qos::DEFAULT_PREFETCH)),
            publishes: Mutex::default(),
            soonest: Mutex::default(),
            publish_timer: Mutex::default(),
            state: Mutex::default(),
            has_withdrawn: AtomicBool::new(false),
            events: Mutex::default(),
        }
    }

    /// Returns why the channel is not open, if it is not.
    pub(crate) fn closed_error(&self) -> Option<Error> {
        self.session.lock(&self.state).ended.as_ref().map(Error::duplicate)
    }

    /// Sets the window.
    pub(crate) fn set_qos(&self, qos: Qos) {
        let count = u32::from(qos.prefetch_count);
        if qos.global {
            self.window.set_limit(count);
            self.session.credits.note_window();
        } else {
            self.prefetch.store(count, Ordering::Release);
        }
        self.session.touch();
    }

    /// Returns the window of a consumer started now.
    pub(crate) fn prefetch(&self) -> u32 {
        self.prefetch.load(Ordering::Acquire)
    }

    /// Returns `tag`, or a new one where it is empty.
    ///
    /// # Errors
    ///
    /// `InvalidArgument` when the tag is in use; why the channel is not open.
    pub(crate) fn name_consumer(&self, tag: ConsumerTag) -> Result<ConsumerTag, Error> {
        let mut state = self.session.lock(&self.state);
        if let Some(ended) = &state.ended {
            return Err(ended.duplicate());
        }
        if state.consumers.contains_key(&tag) {
            let message = "a consumer of that tag is on the channel already";
            return Err(Error::new(ErrorKind::InvalidArgument, message).with("consumer_tag", &tag));
        }
        if !tag.is_empty() {
            return Ok(tag);
        }
        loop {
            state.next_consumer += 1;
            let tag = ConsumerTag::from(format!("ctag{}.{}", self.id, state.next_consumer));
            if !state.consumers.contains_key(&tag) {
                return Ok(tag);
            }
        }
    }

    /// Adds a consumer.
    ///
    /// # Errors
    ///
    /// Why the channel is not open.
    pub(crate) fn add_consumer(&self, consumer: Arc<Consumer>) -> Result<(), Error> {
        let mut state = self.session.lock(&self.state);
        match &state.ended {
            Some(ended) => Err(ended.duplicate()),
            None => {
                state.consumers.insert(consumer.tag.clone(), consumer);
                Ok(())
            }
        }
    }

    /// Takes a consumer out.
    pub(crate) fn remove_consumer(&self, tag: &str) -> Option<Arc<Consumer>> {
        self.session.lock(&self.state).consumers.shift_remove(tag)
    }

    /// Takes every consumer out.
    pub(crate) fn take_consumers(&self) -> Vec<Arc<Consumer>> {
        std::mem::take(&mut self.session.lock(&self.state).consumers).into_values().collect()
    }

    /// Gives deliveries their tags and notes what must be settled. `Err` hands them back: the channel has ended.
    pub(crate) fn admit(
        &self,
        consumer: Option<&Arc<Consumer>>,
        no_ack: bool,
        arrived: Vec<Arrived>,
        deliveries: &mut Vec<Delivery>,
    ) -> Result<(), Vec<Arrived>> {
        let mut state = self.session.lock(&self.state);
        if state.ended.is_some() {
            return Err(arrived);
        }
        deliveries.extend(arrived.into_iter().map(|one| {
            // Kombu says that it was delivered before, not how often.
            let delivery_count = one.received.delivery_count.unwrap_or(u32::from(one.received.redelivered));
            let tag = if no_ack {
                state.unacked.next_tag()
            } else {
                let consumer = consumer.cloned();
                state.unacked.insert(Held {
                    place: one.place,
                    queue: one.queue,
                    list: one.list,
                    count: delivery_count,
                    expires: one.received.expires_at.is_some(),
                    consumer,
                })
            };
            Delivery {
                tag,
                redelivered: one.received.redelivered,
                delivery_count: Some(delivery_count),
                envelope: Arc::new(one.received.envelope),
            }
        }));
        Ok(())
    }

    /// Settles deliveries: forgets them, gives them back, or sets them aside.
    pub(crate) fn settle(self: &Arc<Self>, tag: DeliveryTag, multiple: bool, how: How<'_>) -> Settled {
        let (answer, taken) = {
            let mut state = self.session.lock(&self.state);
            if let Some(ended) = &state.ended {
                let error = Error::new(ErrorKind::ChannelGone, format!("the channel is gone: {ended}"));
                return Settled::ready(Err(error.recoverable_by(Recovery::ReopenChannel)));
            }
            match state.unacked.take(tag, multiple) {
                Some(taken) => (self.note_settles(&taken, how), taken),
                None => {
                    drop(state);
                    return Settled::ready(Err(self.end_by_unknown_tag(tag)));
                }
            }
        };
        // The credit comes last: whoever sees it finds the message where it was given back to.
        let consumers: Vec<_> = taken.iter().filter_map(|held| held.consumer.clone()).collect();
        match how {
            How::GiveBack => self.session.return_local(taken),
            How::Reject => self.session.reject_local(&taken),
            How::Forget | How::SetAside(_) => {}
        }
        consumers.iter().for_each(|consumer| consumer.return_credit());
        self.session.touch();
        answer
    }

    /// Says whether some deliveries were withdrawn.
    pub(crate) fn has_withdrawn(&self) -> bool {
        self.has_withdrawn.load(Ordering::Acquire)
    }

    /// Says whether a delivery that waited is still the application's to handle.
    ///
    /// What was held under a name whose lease was lost is somebody else's. While the lease may be over, as after the process stood
    /// still for long, nobody knows: then the delivery goes back, with those its consumer got after it, which wait as well.
    #[cold]
    pub(crate) fn still_has(self: &Arc<Self>, tag: DeliveryTag) -> bool {
        let session = &self.session;
        let (gone, items) = {
            let mut state = session.lock(&self.state);
            let (gone, items) = match state.unacked.number_of(tag) {
                // A broadcast message is nobody else's.
                Some(None) | None if !state.unacked.is_withdrawn(tag) => return true,
                Some(Some(number)) if !session.is_lost(number) => {
                    if !session.is_overdue(Instant::now()) {
                        return true;
                    }
                    self.has_withdrawn.store(true, Ordering::Release);
                    let items = state.unacked.withdraw(tag);
                    (state.unacked.take(tag, false), items)
                }
                _ => (state.unacked.take(tag, false), Vec::new()),
            };
            (gone, items)
        };
        if !items.is_empty() {
            Returning { items, delivered: false, answers: None, owners: Owners::default(), is_repeated: false }
                .submit(session);
        }
        let consumers = gone.into_iter().flatten().filter_map(|held| held.consumer);
        consumers.for_each(|consumer| consumer.return_credit());
        session.touch();
        false
    }

    #[cold]
    fn end_by_unknown_tag(self: &Arc<Self>, tag: DeliveryTag) -> Error {
        let message = format!("no unsettled delivery has the tag {tag}: it was settled before, or never made");
        let error = Error::new(ErrorKind::PreconditionFailed, message)
            .with("delivery_tag", tag)
            .in_scope(Scope::Channel)
            .recoverable_by(Recovery::ReopenChannel);
        let answer = error.duplicate();
        let channel = Arc::clone(self);
        // The channel ends by a task: this may be inside a callback of the application.
        drop(self.session.handle.spawn(async move { channel.end(error).await }));
        answer
    }

    /// Notes that the channel has ended; says whether it had not before.
    pub(crate) fn mark_ended(&self, why: Option<&Error>) -> bool {
        let mut state = self.session.lock(&self.state);
        if state.ended.is_some() {
            return false;
        }
        state.ended = Some(why.map_or_else(|| is_closed("channel"), Error::duplicate));
        true
    }

    /// Takes every unsettled delivery out; their credit is still taken.
    pub(crate) fn take_unacked(&self) -> Vec<Held> {
        self.session.lock(&self.state).unacked.take_all()
    }

    /// Ends the channel without a word to the server, which cannot be reached.
    pub(crate) fn abandon(&self, error: &Error) {
        self.mark_ended(Some(error));
        for consumer in self.take_consumers() {
            consumer.cancel();
            self.session.poller().discard(&consumer);
            self.session.topology.remove_consumer(&consumer.queue);
        }
        drop(self.take_unacked());
        self.fail_publishes(&self.session, error);
        self.session.forget_channel(self.id);
        self.observe(None);
    }

    /// Sees to the deadlines of what waits for routes.
    pub(crate) fn watch_publishes(self: &Arc<Self>, session: &Session, hub: &dyn Hub) {
        let Some(soonest) = session.lock(&self.soonest).take() else { return };
        let mut timer = session.lock(&self.publish_timer);
        if timer.as_ref().is_some_and(|(at, _)| *at <= soonest) {
            return;
        }
        if let Some((_, later)) = timer.take() {
            later.cancel();
        }
        let channel = Arc::downgrade(self);
        let handle = hub.call_at(
            soonest,
            Box::new(move |hub| {
                let Some(channel) = channel.upgrade() else { return };
                let session = Arc::clone(&channel.session);
                *session.lock(&channel.publish_timer) = None;
                if let Some(next) = channel.expire_publishes(&session, hub.now()) {
                    channel.note_deadline(Some(next));
                    session.touch();
                }
            }),
        );
        *timer = Some((soonest, handle));
    }

    /// Notes the deadline of what waits for routes.
    pub(crate) fn note_deadline(self: &Arc<Self>, deadline: Option<Instant>) {
        let Some(deadline) = deadline else { return };
        let is_first = {
            let mut soonest = self.session.lock(&self.soonest);
            let is_first = soonest.is_none();
            *soonest = Some(soonest.map_or(deadline, |soonest| soonest.min(deadline)));
            is_first
        };
        if is_first {
            self.session.lock(&self.session.watched).push(Arc::clone(self));
        }
    }

    // ---- events

    /// Names who learns of what happens.
    pub(crate) fn observe(&self, events: Option<Arc<dyn ChannelEvents>>) {
        let old = std::mem::replace(&mut *self.session.lock(&self.events), events);
        drop(old);
    }

    fn events(&self) -> Option<Arc<dyn ChannelEvents>> {
        self.session.lock(&self.events).clone()
    }

    pub(crate) fn report_malformed(&self, malformed: Malformed) {
        match self.events() {
            Some(events) => events.malformed(malformed),
            None if self.session.warnings.allows("malformed", self.session.handle.now()) => {
                tracing::warn!(queue = %malformed.queue, reason = %malformed.reason, "set aside what is no message");
            }
            None => {}
        }
    }

    pub(crate) fn report_settle_failed(&self, error: Error) {
        match self.events() {
            Some(events) => events.settle_failed(error),
            None if self.session.warnings.allows("settle", self.session.handle.now()) => {
                tracing::warn!(%error, "a message could not be settled");
            }
            None => {}
        }
    }

    pub(crate) fn report_disturbed(&self, error: Option<&Error>) {
        if let Some(events) = self.events() {
            events.disturbed(error.map(Error::duplicate));
        }
    }

    pub(crate) fn report_closed(&self, error: Error) {
        if let Some(events) = self.events() {
            events.closed(error);
        }
    }
}

/// What becomes of settled deliveries.
#[derive(Clone, Copy)]
pub(crate) enum How<'a> {
    /// They are done.
    Forget,
    /// Nobody wants them: they go where their queues send such.
    Reject,
    /// They go back to their queues.
    GiveBack,
    /// They go to the malformed list, for this reason.
    SetAside(&'a str),
}

impl ChannelCore {
    /// Notes what is to be sent; the answer is that of the last delivery.
    fn note_settles(self: &Arc<Self>, taken: &[Held], how: How<'_>) -> Settled {
        let session = &self.session;
        let mut settles = session.lock(&session.settles);
        let mut answer = Settled::ready(Ok(()));
        for held in taken {
            let Place::Recorded(number) = held.place else { continue };
            answer = match how {
                How::Reject if session.dead_letters(&held.queue) => {
                    settles.die(self, number, held.queue.clone(), Reason::Rejected)
                }
                How::Forget | How::Reject => settles.forget(self, number),
                How::GiveBack if session.is_worn_out(&held.queue, held.count) => {
                    settles.die(self, number, held.queue.clone(), Reason::DeliveryLimit)
                }
                How::GiveBack => {
                    if held.expires || session.policy(&held.queue).is_some() {
                        settles.look_at(&held.queue);
                    }
                    settles.give_back(self, number, Arc::clone(&held.list))
                }
                How::SetAside(reason) => settles.set_aside(self, number, held.queue.clone(), reason.to_owned()),
            };
        }
        answer
    }
}
