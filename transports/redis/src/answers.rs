//! What a session makes of the answers and losses of its sockets.

use std::sync::Arc;
use std::time::Instant;

use kombu_core::hub::Hub;
use kombu_core::{Error, ErrorKind};
use redis::Value;

use crate::connection::{Fate, Greeting, Link, LinkOwner, Role, refusal};
use crate::request::Request;
use crate::scripts;
use crate::session::Session;

impl Session {
    /// Ends a request without an answer.
    pub(crate) fn handle_failure_anywhere(&self, request: Request, written: bool, error: &Error) {
        match request {
            Request::Call(sender) => sender.send(Err(error.duplicate())),
            Request::Publish(publishing) => publishing.fail(self, written, error),
            Request::Routes { id, .. } => self.handle_lost_routes(id, error),
            Request::Check(checking) => self.handle_lost_check(*checking, error),
            Request::Take(taking) | Request::Recover(taking) => self.handle_lost_take(*taking, error),
            Request::Settle(settling) => settling.finish(self, Err(error.duplicate()), Vec::new()),
            Request::Return(returning) => returning.finish(self, Err(error.duplicate()), Vec::new()),
            Request::Die(dying) => dying.finish(self, Err(error.duplicate()), Vec::new()),
            Request::LookAfter { is_due } => self.handle_lost_look_after(is_due),
            Request::Policies => self.handle_lost_policies(),
            Request::History(asking) => self.handle_lost_question(asking),
            Request::SetAside(aside) => aside.finish(self, Err(error.duplicate())),
            Request::Brpop(_) => drop(self.poller().handle_lost_waiter()),
            Request::Record(popped) => self.handle_unrecorded(&popped, error),
            Request::Probe(request) => {
                self.lock(&self.refused).end_probe();
                self.handle_failure_anywhere(*request, written, error);
            }
            Request::Wait => self.handle_lost_wait(),
            Request::Blmove(list) => self.handle_lost_move(&list),
            Request::Unblock(list) => self.poller().handle_unblocked(list.as_deref()),
            Request::Register(_) => {}
            Request::NoteInboxes { name, lists } => self.poller().waiters.handle_noted(&name, &lists, false),
            Request::Watch(queues) => self.poller().handle_watched(&queues, None),
            Request::Look(looks) => self.handle_lost_look(&looks),
            Request::Quiet(_) | Request::QuietScript { .. } => {}
            Request::PushBack(_) => {
                tracing::error!(broker = %self.target.label, %error, "a message could not be given back; it is lost")
            }
        }
    }

    /// Loads the scripts, which the server has lost.
    pub(crate) fn load_scripts(&self) {
        for script in scripts::all() {
            self.send_quietly("SCRIPT LOAD", 1, |out| script.load().write_packed_command(out));
        }
    }

    /// Loads the scripts and sends the request again.
    fn load_scripts_for(self: &Arc<Self>, mut request: Request) {
        self.load_scripts();
        if let Request::Take(taking) = &mut request {
            taking.renumber(self);
        }
        match self.bytes_of(&request) {
            Some((_, bytes)) => self.submit(request, &bytes),
            // The next tick tells the server anew.
            None => {
                let error = Error::new(ErrorKind::Internal, "the server had lost the scripts");
                self.handle_failure_anywhere(request, false, &error);
            }
        }
    }

    /// Returns what is sent for a request that can be made anew, and how many replies it has.
    pub(crate) fn bytes_of(&self, request: &Request) -> Option<(u32, Vec<u8>)> {
        let bytes = match request {
            Request::Publish(publishing) => return publishing.to_bytes(self),
            Request::Probe(request) => return self.bytes_of(request),
            Request::Take(taking) => taking.to_bytes(self),
            Request::Recover(taking) => taking.write_recovery(self),
            Request::Record(popped) => popped.to_bytes(self),
            Request::Settle(settling) => settling.to_bytes(self),
            Request::Return(returning) => returning.to_bytes(self),
            Request::Die(dying) => dying.to_bytes(self),
            Request::LookAfter { .. } => self.look_bytes(),
            Request::History(asking) => self.history_bytes(*asking),
            Request::SetAside(aside) => aside.to_bytes(self),
            Request::Register(name) => self.registration(name),
            Request::Check(checking) => {
                let mut out = Vec::new();
                checking.reading.write(self, &mut out);
                return Some((checking.reading.replies(), out));
            }
            Request::Routes { reading, .. } => {
                let mut out = Vec::new();
                reading.write(self, &mut out);
                return Some((reading.replies(), out));
            }
            Request::QuietScript { bytes, .. } => bytes.clone(),
            Request::PushBack(back) => back.to_bytes(),
            _ => return None,
        };
        Some((1, bytes))
    }

    fn handle_refused_quietly(&self, what: &'static str, value: &Value) {
        if let Value::ServerError(error) = value
            && self.warnings.allows(what, self.handle.now())
        {
            let error = refusal(error);
            tracing::warn!(broker = %self.target.label, %error, "{what} failed");
        }
    }
}

impl LinkOwner for Session {
    fn handle_up(&self, _hub: &dyn Hub, link: &Arc<Link>, greeting: &Greeting) {
        match link.role() {
            Role::Command => {
                let last_run = std::mem::replace(&mut *self.lock(&self.run_id), greeting.run_id.clone());
                self.tags.begin_anew();
                self.lock(&self.route_cache).set_tracking(greeting.is_tracking);
                self.set_tracking(greeting.is_tracking);
                self.lock(&self.standings).doubt();
                self.handle_up_for_history(last_run.is_some() && last_run != greeting.run_id);
                self.poller().handle_connected(self, greeting);
                self.handle_up_for_policies(false);
                for channel in self.channels() {
                    channel.report_disturbed(None);
                }
            }
            _ => self.poller().handle_up(link, greeting),
        }
        self.touch();
    }

    fn handle_down(&self, _hub: &dyn Hub, link: &Arc<Link>, error: &Error, retrying: bool) {
        tracing::debug!(broker = %self.target.label, role = ?link.role(), %error, retrying, "a socket was lost");
        if link.role() == Role::Command {
            // Nobody tells of changes any more.
            self.lock(&self.route_cache).set_tracking(false);
        }
        if link.role() == Role::Command && retrying {
            self.repeat_held();
            for channel in self.channels() {
                channel.report_disturbed(Some(error));
            }
        }
        self.poller().handle_down(link);
    }

    fn handle_answer(&self, hub: &dyn Hub, _link: &Arc<Link>, request: Request, value: Value) {
        let Some(me) = self.me() else { return };
        let is_refused = matches!(value, Value::ServerError(_)) || matches!(request, Request::Probe(_));
        let (request, value) = if is_refused {
            let Some(passed) = me.keep_refused(hub, request, value) else { return };
            passed
        } else {
            (request, value)
        };
        match request {
            Request::Call(sender) => sender.send(Ok(value)),
            Request::Publish(publishing) if is_unknown_script(&value) => {
                self.load_scripts();
                publishing.submit_again(self, false);
            }
            Request::Publish(publishing) => publishing.handle_answer(self, value),
            Request::Wait => self.handle_waited(&value),
            Request::Routes { reading, id } => self.handle_routes(*reading, id, &value),
            Request::Check(checking) => self.handle_checked(*checking, &value),
            request if is_unknown_script(&value) => me.load_scripts_for(request),
            Request::Take(taking) => me.handle_taken(hub, *taking, value),
            Request::Recover(taking) => me.handle_recovered(hub, *taking, value),
            Request::Record(popped) => me.handle_recorded(hub, *popped, value),
            Request::Settle(settling) => settling.handle_answer(self, value),
            Request::Return(returning) => returning.handle_answer(self, value),
            Request::Die(dying) => dying.handle_answer(self, value),
            Request::LookAfter { is_due } => self.handle_looked_after(is_due, value),
            Request::Policies => self.handle_policies(value),
            Request::History(asking) => self.handle_history(asking, &value),
            Request::SetAside(aside) => aside.handle_answer(self, value),
            Request::Brpop(waiting) => me.handle_popped(hub, waiting, value),
            Request::Blmove(list) => me.handle_moved(hub, &list, &value),
            Request::Unblock(list) => {
                let mut poller = self.poller();
                if matches!(value, Value::ServerError(_)) {
                    poller.do_without_unblock(&me);
                }
                poller.handle_unblocked(list.as_deref());
            }
            Request::Register(name) => self.handle_registered(&name, &value),
            Request::NoteInboxes { name, lists } => me.handle_noted(hub, &name, &lists, &value),
            Request::Watch(queues) => self.poller().handle_watched(&queues, Some(&value)),
            Request::Look(looks) => me.handle_looked(&looks, &value),
            // Taken apart above.
            Request::Probe(_) => {}
            Request::Quiet(what) | Request::QuietScript { what, .. } => self.handle_refused_quietly(what, &value),
            Request::PushBack(_) => self.handle_refused_quietly("giving a message back", &value),
        }
    }

    fn handle_push(&self, _hub: &dyn Hub, link: &Arc<Link>, value: Value) {
        let Some(me) = self.me() else { return };
        match link.role() {
            Role::Listener => me.on_readable(value),
            Role::Command => me.handle_changed(&value),
            _ => {}
        }
    }

    fn handle_failure(&self, _hub: &dyn Hub, request: Request, written: bool, error: &Error) {
        self.handle_failure_anywhere(request, written, error);
    }

    fn handle_batch_end(&self, _hub: &dyn Hub) {
        self.backlog.wake();
        if let Some(me) = self.me() {
            me.deliver_broadcasts();
        }
        self.touch();
    }

    fn decide(&self, request: &mut Request, written: bool, deadline: Option<Instant>, now: Instant) -> Fate {
        if let Request::Probe(request) = request {
            return self.decide(request, written, deadline, now);
        }
        let is_late = deadline.is_some_and(|deadline| deadline <= now);
        match request {
            Request::Settle(settling) => settling.is_repeated |= written,
            Request::Return(returning) => returning.is_repeated |= written,
            Request::Die(dying) => dying.is_repeated |= written,
            Request::SetAside(aside) => aside.is_repeated |= written,
            _ => {}
        }
        match request {
            Request::Call(sender) if sender.is_abandoned() && !written => Fate::Drop,
            Request::Publish(_) if is_late => Fate::Drop,
            Request::Publish(publishing) if written => publishing.write_again(self),
            Request::PushBack(back) if written => back.write_again(self),
            Request::Take(taking) if written && taking.is_lost_with_its_answer() => Fate::Drop,
            Request::Take(taking) if written => {
                let bytes = taking.write_recovery(self);
                let taking = std::mem::take(&mut **taking);
                *request = Request::Recover(Box::new(taking));
                Fate::Replace(bytes, 1)
            }
            Request::Brpop(_)
            | Request::Blmove(_)
            | Request::Unblock(_)
            | Request::Watch(_)
            | Request::Look(_)
            | Request::Policies
            | Request::History(_)
            | Request::Wait => Fate::Drop,
            _ => Fate::Keep,
        }
    }
}

/// Says whether the server does not know the script it was asked to run.
pub(crate) fn is_unknown_script(value: &Value) -> bool {
    matches!(value, Value::ServerError(error) if error.code() == "NOSCRIPT")
}
