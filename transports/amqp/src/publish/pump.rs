//! The task that brings the publishes of a channel to their answers.

use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use kombu_core::hub::{Sleep, instant_after};
use kombu_core::reply::ReplySender;
use kombu_core::{Confirmation, Error, ErrorKind, Outcome, Returned, Scope};

use super::entry::{Entry, Landing};
use super::told::Told;
use super::unsent::Unsent;
use super::{Publisher, State};
use crate::client::Landed;

/// What the pump has to do next.
enum Next {
    /// Publishing needs a channel.
    Open,
    /// The connection is lost.
    Lost(Error),
    /// Nothing more will be published.
    Ended,
}

impl Publisher {
    pub(super) async fn run(self: Arc<Self>) {
        let mut timer = None;
        loop {
            match std::future::poll_fn(|cx| self.poll(cx, &mut timer)).await {
                Next::Open => self.open_meanwhile(&mut timer).await,
                Next::Lost(error) => self.session.failed(error),
                Next::Ended => return,
            }
        }
    }

    /// Opens a channel. What waits for it too long is given up meanwhile.
    async fn open_meanwhile(&self, timer: &mut Option<(Instant, Sleep)>) {
        let mut opening = std::pin::pin!(self.open());
        std::future::poll_fn(|cx| {
            let mut told = Told::default();
            {
                let mut state = self.lock();
                if take_due(timer, cx) {
                    state.expire(self.session.handle.now(), &mut told);
                }
                state.arm(timer, &self.session.handle, cx);
            }
            self.tell(told);
            opening.as_mut().poll(cx)
        })
        .await;
    }

    async fn open(&self) {
        let opened = async {
            let (client, is_on_main) = self.session.publishing_client().await?;
            let opening = async {
                let channel = client.open_channel().await?;
                channel.confirm_select().await?;
                Ok(channel)
            };
            Ok::<_, Error>((self.session.answer(opening).await?, is_on_main))
        };
        match opened.await {
            Ok((channel, is_on_main)) => {
                let mut state = self.lock();
                if state.ended.is_none() {
                    state.channel = Some(channel);
                    state.unsent = Unsent::default();
                    state.is_on_main = is_on_main;
                }
            }
            Err(error) if error.scope() == Scope::Operation && error.kind() != ErrorKind::Timeout => {
                let mut told = Told::default();
                let waiting = std::mem::take(&mut self.lock().waiting);
                for entry in waiting {
                    told.finish(entry, Err(error.duplicate().with_outcome(Outcome::NotSent)));
                }
                self.tell(told);
            }
            // Nobody answered; whatever still waits for a channel asks again.
            Err(error) if error.kind() == ErrorKind::Timeout => {}
            Err(error) => self.session.failed(error.in_scope(Scope::Connection)),
        }
    }

    fn poll(&self, cx: &mut Context<'_>, timer: &mut Option<(Instant, Sleep)>) -> Poll<Next> {
        let mut told = Told::default();
        let next = {
            let mut state = self.lock();
            let state = &mut *state;
            if !state.pump.as_ref().is_some_and(|waker| waker.will_wake(cx.waker())) {
                state.pump = Some(cx.waker().clone());
            }
            let is_due = take_due(timer, cx);
            if is_due {
                state.expire(self.session.handle.now(), &mut told);
            }
            let lost = state.look(cx, is_due, &mut told);
            if state.in_flight.is_empty() && state.is_on_main && self.session.publishes_apart() {
                // Publishing moves to a connection of its own; what comes next opens its channel.
                if let Some(channel) = state.channel.take() {
                    drop(self.session.handle.spawn(async move { channel.close().await }));
                }
            }
            self.launch(state, &mut told);
            state.pass_barriers(&mut told);
            if let Some(error) = lost {
                Some(Next::Lost(error))
            } else if state.ended.is_some() {
                Some(Next::Ended)
            } else if state.needs_channel() && !self.session.is_blocked(state.is_on_main) {
                Some(Next::Open)
            } else {
                state.arm(timer, &self.session.handle, cx);
                None
            }
        };
        self.tell(told);
        next.map_or(Poll::Pending, Poll::Ready)
    }

    /// Sends what may be sent now; says whether nothing is left waiting.
    pub(super) fn launch(&self, state: &mut State, told: &mut Told) -> bool {
        while let Some(entry) = state.waiting.front() {
            if state.channel.is_none() {
                return false;
            }
            let is_alone = entry.is_suspect || state.in_flight.front().is_some_and(|front| front.is_suspect);
            let window = if state.mandatory > 0 || entry.is_mandatory { MANDATORY_WINDOW } else { WINDOW };
            if state.in_flight.len() >= if is_alone { 1 } else { window }
                || self.session.is_blocked(state.is_on_main)
                || (state.is_on_main && self.session.publishes_apart())
                || !state.has_room()
            {
                return false;
            }
            let (Some(channel), Some(entry)) = (&state.channel, state.waiting.front()) else { return false };
            let mut flight = match channel.publish(entry.is_mandatory, &entry.envelope) {
                Ok(flight) => flight,
                Err(error) => {
                    if let Some(entry) = state.waiting.pop_front() {
                        told.finish(entry, Err(error.with_outcome(Outcome::NotSent)));
                    }
                    continue;
                }
            };
            // Only what lands next wakes the pump; the others are looked at when it is their turn.
            let is_next = state.in_flight.is_empty();
            let waker = state.pump.as_ref().filter(|_| is_next).unwrap_or(Waker::noop());
            match flight.as_mut().poll(&mut Context::from_waker(waker)) {
                Poll::Pending => {}
                Poll::Ready(Err(_)) => {
                    // It did not leave: the channel is gone, and another is needed.
                    state.channel = None;
                    return false;
                }
                // Written and confirmed before this thread got further; it is read with the others.
                Poll::Ready(Ok(landed)) => {
                    flight = Box::pin(std::future::ready(Ok(landed)));
                    if let Some(pump) = &state.pump {
                        pump.wake_by_ref();
                    }
                }
            }
            if let Some(mut entry) = state.waiting.pop_front() {
                entry.flight = Some(flight);
                state.unsent.launched(entry.size);
                state.mandatory += usize::from(entry.is_mandatory);
                state.in_flight.push_back(entry);
            }
        }
        true
    }
}

impl State {
    /// Reads every flight that has landed. A channel that was closed sends its flights back to wait; an error of the
    /// connection is returned.
    fn look(&mut self, cx: &mut Context<'_>, everywhere: bool, told: &mut Told) -> Option<Error> {
        loop {
            self.round += 1;
            let mut has_found = false;
            let mut is_first = true;
            let mut index = 0;
            while index < self.in_flight.len() {
                let entry = &mut self.in_flight[index];
                if entry.flight.is_some() {
                    let waker = if is_first { cx.waker() } else { Waker::noop() };
                    match entry.poll(&mut Context::from_waker(waker)) {
                        Poll::Ready(Ok(landed)) => {
                            has_found = true;
                            self.land(index, landed, told);
                        }
                        Poll::Ready(Err(error)) if error.scope() == Scope::Connection => {
                            // Still in flight, for all that is known.
                            self.in_flight[index].was_sent = true;
                            return Some(error);
                        }
                        Poll::Ready(Err(error)) => {
                            self.channel_closed(index, error, told);
                            return None;
                        }
                        Poll::Pending => {
                            is_first = false;
                            if self.mandatory == 0 && !everywhere {
                                break;
                            }
                        }
                    }
                }
                index += 1;
                self.clear(&mut index, told);
            }
            // A return may have come with any flight that landed before the one it belongs to: all of them are read first.
            if !has_found || self.mandatory == 0 {
                break;
            }
        }
        if self.mandatory > 0 {
            self.settle_mandatory(told);
        }
        None
    }

    /// Notes how the flight at `index` landed; answers it at once unless it is mandatory.
    fn land(&mut self, index: usize, landed: Landed, told: &mut Told) {
        let landing = Landing { is_nacked: landed.is_nacked, is_clean: landed.returned.is_none(), round: self.round };
        if landing.is_clean {
            self.last_clean = self.round;
        }
        let entry = &mut self.in_flight[index];
        entry.landing = Some(landing);
        if !entry.is_mandatory
            && let Some(answer) = entry.answer.take()
        {
            told.answers.push((answer, landing.confirmation()));
        }
        if let Some(returned) = landed.returned {
            self.give_back(returned, told);
        }
    }

    /// Finds the publish that a returned message belongs to.
    fn give_back(&mut self, returned: Box<Returned>, told: &mut Told) {
        let find = |strictly| {
            self.in_flight
                .iter()
                .position(|entry| entry.is_mandatory && !entry.came_back && entry.matches(&returned.envelope, strictly))
        };
        match find(true).or_else(|| find(false)) {
            Some(index) => {
                self.in_flight[index].came_back = true;
                self.in_flight[index].returned = Some(returned);
            }
            None => told.strays.push(*returned),
        }
    }

    /// Answers the mandatory messages of which it is certain by now whether they came back.
    fn settle_mandatory(&mut self, told: &mut Told) {
        let is_any_out = self.in_flight.iter().any(|entry| entry.flight.is_some());
        let last_clean = self.last_clean;
        for entry in self.in_flight.iter_mut().filter(|entry| entry.is_mandatory && entry.answer.is_some()) {
            let Some(landing) = entry.landing else { continue };
            // One that landed two looks later without a return: none was waiting then.
            let is_certain = landing.is_clean || !is_any_out || last_clean >= landing.round + 2;
            let result = match entry.returned.take() {
                Some(returned) => Ok(Confirmation::Returned(returned)),
                None if is_certain => landing.confirmation(),
                None => continue,
            };
            if let Some(answer) = entry.answer.take() {
                told.answers.push((answer, result));
            }
        }
        self.clear(&mut 0, told);
    }

    /// Forgets what is done at the front, keeping `index` where it points.
    fn clear(&mut self, index: &mut usize, told: &mut Told) {
        while self.in_flight.front().is_some_and(|entry| entry.landing.is_some() && entry.answer.is_none()) {
            if let Some(entry) = self.in_flight.pop_front() {
                self.mandatory -= usize::from(entry.is_mandatory);
                told.freed += entry.size;
            }
            *index = index.saturating_sub(1);
        }
    }

    /// The broker closed the channel while the flight at `index` and perhaps others were out.
    fn channel_closed(&mut self, index: usize, error: Error, told: &mut Told) {
        self.channel = None;
        // What the broker answered before it did stays answered.
        for at in 0..self.in_flight.len() {
            if let Poll::Ready(Ok(landed)) = self.in_flight[at].poll(&mut Context::from_waker(Waker::noop())) {
                self.land(at, landed, told);
            }
        }
        let is_alone = self.in_flight.iter().enumerate().all(|(at, entry)| at == index || entry.landing.is_some());
        let mut again = Vec::new();
        for (at, mut entry) in std::mem::take(&mut self.in_flight).into_iter().enumerate() {
            if entry.answer.is_none() {
                told.freed += entry.size;
            } else if let Some(landing) = entry.landing.filter(|landing| landing.is_clean || entry.returned.is_some()) {
                let result = match entry.returned.take() {
                    Some(returned) => Ok(Confirmation::Returned(returned)),
                    None => landing.confirmation(),
                };
                told.finish(entry, result);
            } else if at == index && is_alone && error.kind() != ErrorKind::ChannelGone {
                told.finish(entry, Err(error.duplicate().in_scope(Scope::Operation).with_outcome(Outcome::NotSent)));
            } else {
                entry.ground();
                again.push(entry);
            }
        }
        self.mandatory = 0;
        again.into_iter().rev().for_each(|entry| self.waiting.push_front(entry));
    }

    /// Gives up what is past its deadline: what waits is not sent any more, what is under way may arrive.
    fn expire(&mut self, now: Instant, told: &mut Told) {
        let is_late = |entry: &Entry| entry.deadline.is_some_and(|deadline| deadline <= now);
        if self.waiting.iter().any(is_late) {
            let (late, rest) = std::mem::take(&mut self.waiting).into_iter().partition(is_late);
            self.waiting = rest;
            let late: std::collections::VecDeque<Entry> = late;
            for entry in late {
                let error = entry.timed_out();
                told.finish(entry, Err(error));
            }
        }
        for entry in self.in_flight.iter_mut().filter(|entry| is_late(entry)) {
            let error = entry.timed_out();
            if let Some(answer) = entry.answer.take() {
                told.answers.push((answer, Err(error)));
            }
        }
    }

    fn needs_channel(&self) -> bool {
        self.channel.is_none() && self.in_flight.is_empty() && !self.waiting.is_empty()
    }

    /// Sets the timer for the next deadline, or for the next look at what lands out of order.
    fn arm(&mut self, timer: &mut Option<(Instant, Sleep)>, handle: &kombu_core::hub::HubHandle, cx: &mut Context<'_>) {
        let next = match (self.in_flight.len(), self.waiting.is_empty()) {
            (0, true) => None,
            (0 | 1, _) => self.in_flight.iter().chain(&self.waiting).filter_map(|entry| entry.deadline).min(),
            _ => Some(instant_after(handle.now(), OUT_OF_ORDER)),
        };
        let Some(next) = next else {
            *timer = None;
            return;
        };
        // One that comes earlier does: it looks and is set again.
        if timer.as_ref().is_some_and(|(when, _)| *when <= next) {
            return;
        }
        let mut sleep = handle.sleep_until(next);
        if std::pin::Pin::new(&mut sleep).poll(cx).is_ready() {
            cx.waker().wake_by_ref();
        }
        *timer = Some((next, sleep));
    }

    /// Lets those pass who waited for what has its answer by now.
    fn pass_barriers(&mut self, told: &mut Told) {
        if self.barriers.is_empty() {
            return;
        }
        let first = self.in_flight.iter().chain(&self.waiting).map(|entry| entry.number).min();
        let (passed, kept) = std::mem::take(&mut self.barriers)
            .into_iter()
            .partition(|(last, _)| first.is_none_or(|first| first > *last));
        self.barriers = kept;
        let passed: Vec<(u64, ReplySender<()>)> = passed;
        told.passed.extend(passed.into_iter().map(|(_, sender)| sender));
    }
}

/// Says whether the time of `timer` has come; one that has is taken.
fn take_due(timer: &mut Option<(Instant, Sleep)>, cx: &mut Context<'_>) -> bool {
    let is_due = timer.as_mut().is_some_and(|(_, sleep)| std::pin::Pin::new(sleep).poll(cx).is_ready());
    if is_due {
        *timer = None;
    }
    is_due
}

/// How many messages may be out at once.
const WINDOW: usize = 4096;
/// How many, while one of them is mandatory: all of them are looked at again and again.
const MANDATORY_WINDOW: usize = 512;
/// How long a confirmation that overtakes others may wait for its answer.
const OUT_OF_ORDER: Duration = Duration::from_millis(50);
