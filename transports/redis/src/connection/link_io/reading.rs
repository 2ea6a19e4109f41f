//! What the server sends: greetings, answers, and what it tells unasked.

use std::io::{self, Read};
use std::sync::Arc;

use kombu_core::Result;
use kombu_core::hub::{Hub, Progress};
use redis::Value;

use super::{Event, LinkIo, Next, Phase, READ_BUDGET, SCRATCH, SCRATCH_SIZE, broken, is_cluster, lost};
use crate::connection::cluster::Reached;
use crate::connection::link::{Link, Role};
use crate::connection::{Greeting, command, is_misplaced, refusal};
use crate::refused::is_passing;

impl LinkIo {
    /// Reads up to a budget and uses what came; `is_ending` says that the server sends no more.
    pub(super) fn read(
        &mut self,
        link: &Arc<Link>,
        hub: &dyn Hub,
        is_ending: bool,
        events: &mut Vec<Event>,
    ) -> Progress {
        self.last_heard = hub.now();
        self.unanswered_pings = 0;
        let mut values = std::mem::take(&mut self.values);
        let progress = self.read_into(link, hub, is_ending, &mut values, events);
        // The next one has their memory.
        values.clear();
        self.values = values;
        progress
    }

    fn read_into(
        &mut self,
        link: &Arc<Link>,
        hub: &dyn Hub,
        is_ending: bool,
        values: &mut Vec<Value>,
        events: &mut Vec<Event>,
    ) -> Progress {
        let mut taken = 0;
        let (progress, end) = SCRATCH.with_borrow_mut(|scratch| {
            scratch.resize(SCRATCH_SIZE, 0);
            loop {
                let Some((stream, _)) = &mut self.stream else { return (Progress::Drained, None) };
                match stream.read(scratch) {
                    Ok(0) => return (Progress::Drained, Some(lost("the server closed the connection"))),
                    Ok(count) => {
                        if let Err(error) = self.replies.handle_bytes(&scratch[..count], values) {
                            return (Progress::Drained, Some(error));
                        }
                        taken += count;
                        if !is_ending && stream.is_emptied(count, scratch.len()) {
                            return (Progress::Drained, None);
                        }
                        if taken >= READ_BUDGET {
                            return (Progress::More, None);
                        }
                    }
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => return (Progress::Drained, None),
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                    Err(error) => return (Progress::Drained, Some(broken(error))),
                }
            }
        });
        let mut refusal = None;
        events.reserve(values.len());
        for value in values.drain(..) {
            match self.handle_value(link, hub, value, events) {
                Ok(Next::Go) => {}
                // Each answer that is there already says which requests were not executed.
                Ok(Next::After(error)) => refusal = refusal.or(Some(error)),
                Ok(Next::Elsewhere) => {
                    self.go_elsewhere(link, hub, events);
                    return Progress::Drained;
                }
                Err(error) => {
                    self.fail(link, hub, error, events);
                    return Progress::Drained;
                }
            }
        }
        if let Some(refusal) = &refusal {
            // Whatever else was answered, this server is the wrong one.
            self.misplaced = Some(refusal.to_string());
        }
        if let Some(error) = refusal.or(end) {
            self.fail(link, hub, error, events);
        }
        progress
    }

    fn handle_value(&mut self, link: &Arc<Link>, hub: &dyn Hub, value: Value, events: &mut Vec<Event>) -> Result<Next> {
        match &mut self.phase {
            // What the server tells unasked is no answer to anything.
            Phase::Greeting(_) if matches!(value, Value::Push { .. }) => {}
            Phase::Greeting(handshake) => {
                if let Some(greeting) = handshake.handle_reply(&value)? {
                    let reached = match &link.target.cluster {
                        Some(cluster) => cluster.handle_greeting(&greeting, &self.host)?,
                        None if greeting.is_cluster => return Err(is_cluster()),
                        None => Reached::Owner,
                    };
                    if reached == Reached::Elsewhere {
                        return Ok(Next::Elsewhere);
                    }
                    self.come_up(link, hub, greeting, events);
                }
            }
            Phase::Up if matches!(value, Value::Push { .. }) => events.push(Event::Push(value)),
            Phase::Up if self.ignored > 0 => self.ignored -= 1,
            Phase::Up => {
                if let Value::ServerError(error) = &value
                    && is_misplaced(error)
                {
                    if let (Some(cluster), "MOVED") = (&link.target.cluster, error.code()) {
                        cluster.handle_moved(error.details().unwrap_or_default(), &self.host);
                    }
                    let refused = refusal(error);
                    self.misplaced = Some(refused.to_string());
                    self.pipeline.handle_refusal(value);
                    return Ok(Next::After(refused));
                }
                if link.role == Role::Listener {
                    if let Value::ServerError(error) = &value
                        && is_passing(error)
                    {
                        // What it was asked for is asked on the next socket.
                        return Err(refusal(error));
                    }
                    events.push(Event::Push(value));
                    return Ok(Next::Go);
                }
                self.misplaced = None;
                match self.pipeline.handle_reply(value) {
                    Ok(Some((request, value))) => events.push(Event::Answer(request, value)),
                    Ok(None) => {}
                    Err(value) => events.push(Event::Push(value)),
                }
            }
            _ => {}
        }
        Ok(Next::Go)
    }

    fn come_up(&mut self, link: &Arc<Link>, hub: &dyn Hub, greeting: Greeting, events: &mut Vec<Event>) {
        self.phase = Phase::Up;
        self.was_up = true;
        self.turned_away = None;
        self.addresses.clear();
        self.redirections = 0;
        // A server that takes connections and refuses the work is no success.
        if self.misplaced.is_none() {
            self.backoff.reset();
        }
        self.set_attempt_timer(None);
        self.last_heard = hub.now();
        self.raw.clear();
        self.end_last(&greeting);
        if let Some(opening) = self.opening.take() {
            events.push(Event::Opened(opening, Ok(greeting.clone())));
        }
        events.push(Event::Up(greeting));
        self.watch_until(link, hub, None);
    }

    /// Sees to it that the server has given up the connection before this one. Until it has, it may still execute what it was
    /// sent there, after what is repeated here, or hand a message to a waiter nobody reads from.
    fn end_last(&mut self, greeting: &Greeting) {
        self.ignored = 0;
        let (Some(id), Some(run_id)) = (greeting.client_id, &greeting.run_id) else {
            self.last = None;
            return;
        };
        if let Some((last, _)) = self.last.replace((id, run_id.clone())).filter(|(_, run)| run == run_id) {
            command::command(&mut self.raw, &["CLIENT", "KILL", "ID", &last.to_string()]);
            self.ignored = 1;
        }
    }
}
