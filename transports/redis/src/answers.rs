//! What a session makes of the answers and losses of its sockets.

use std::sync::Arc;
use std::time::Instant;

use kombu_core::Error;
use kombu_core::hub::Hub;
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
            Request::Take(taking) | Request::Recover(taking) => self.handle_lost_take(*taking, error),
            Request::Settle(settling) => settling.finish(self, Err(error.duplicate()), Vec::new()),
            Request::Return(returning) => returning.finish(self, Err(error.duplicate()), Vec::new()),
            Request::SetAside(aside) => aside.finish(self, Err(error.duplicate())),
            Request::Brpop(_) => drop(self.poller().handle_lost_waiter()),
            Request::Record(_) | Request::GiveBack => {
                tracing::error!(broker = %self.target.label, %error, "a popped message could not be recorded");
            }
            Request::Unblock => self.poller().handle_unblocked(&Value::Nil),
            Request::Wait => self.handle_lost_wait(),
            Request::Quiet(_) => {}
        }
    }

    /// Loads the scripts, which the server has lost.
    pub(crate) fn load_scripts(&self) {
        for script in scripts::all() {
            self.send_quietly("SCRIPT LOAD", 1, |out| script.load().write_packed_command(out));
        }
    }

    /// Loads the scripts and sends the request again.
    fn load_scripts_for(self: &Arc<Self>, request: Request) {
        self.load_scripts();
        let bytes = match &request {
            Request::Take(taking) => taking.to_bytes(self),
            Request::Record(popped) => popped.to_bytes(self),
            Request::Settle(settling) => settling.to_bytes(self),
            Request::Return(returning) => returning.to_bytes(self),
            Request::SetAside(aside) => aside.to_bytes(self),
            _ => return,
        };
        self.submit(request, &bytes);
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
                for channel in self.channels() {
                    channel.report_disturbed(None);
                }
            }
            role => self.poller().handle_up(role, greeting),
        }
        self.touch();
    }

    fn handle_down(&self, _hub: &dyn Hub, link: &Arc<Link>, error: &Error, retrying: bool) {
        tracing::debug!(broker = %self.target.label, role = ?link.role(), %error, retrying, "a socket was lost");
        if link.role() == Role::Command && retrying {
            self.repeat_held();
            for channel in self.channels() {
                channel.report_disturbed(Some(error));
            }
        }
        if link.role() != Role::Command {
            self.poller().handle_down(link.role());
        }
    }

    fn handle_answer(&self, hub: &dyn Hub, _link: &Arc<Link>, request: Request, value: Value) {
        let Some(me) = self.me() else { return };
        match request {
            Request::Call(sender) => sender.send(Ok(value)),
            Request::Publish(publishing) if is_unknown_script(&value) => {
                self.load_scripts();
                publishing.submit_again(self, false);
            }
            Request::Publish(publishing) => publishing.handle_answer(self, value),
            Request::Wait => self.handle_waited(&value),
            Request::Routes { exchange, id } => self.handle_routes(&exchange, id, value),
            request if is_unknown_script(&value) => me.load_scripts_for(request),
            Request::Take(taking) => me.handle_taken(hub, *taking, value),
            Request::Recover(taking) => me.handle_recovered(*taking, value),
            Request::Record(popped) => me.handle_recorded(hub, *popped, value),
            Request::Settle(settling) => settling.handle_answer(self, value),
            Request::Return(returning) => returning.handle_answer(self, value),
            Request::SetAside(aside) => aside.handle_answer(self, value),
            Request::Brpop(waiting) => me.handle_popped(hub, waiting, value),
            Request::Unblock => self.poller().handle_unblocked(&value),
            Request::GiveBack => self.handle_refused_quietly("giving a message back", &value),
            Request::Quiet(what) => self.handle_refused_quietly(what, &value),
        }
    }

    fn handle_push(&self, _hub: &dyn Hub, link: &Arc<Link>, value: Value) {
        let Some(me) = self.me() else { return };
        if link.role() == Role::Listener {
            me.on_readable(value);
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
        let is_late = deadline.is_some_and(|deadline| deadline <= now);
        match request {
            Request::Settle(settling) => settling.is_repeated |= written,
            Request::Return(returning) => returning.is_repeated |= written,
            Request::SetAside(aside) => aside.is_repeated |= written,
            _ => {}
        }
        match request {
            Request::Call(sender) if sender.is_abandoned() && !written => Fate::Drop,
            Request::Publish(_) if is_late => Fate::Drop,
            Request::Publish(publishing) if written => publishing.write_again(self),
            Request::Take(taking) if written && taking.is_lost_with_its_answer() => Fate::Drop,
            Request::Take(taking) if written => {
                let bytes = taking.write_recovery(self);
                let taking = std::mem::take(&mut **taking);
                *request = Request::Recover(Box::new(taking));
                Fate::Replace(bytes, 1)
            }
            Request::Brpop(_) | Request::Unblock | Request::Wait => Fate::Drop,
            _ => Fate::Keep,
        }
    }
}

/// Says whether the server does not know the script it was asked to run.
pub(crate) fn is_unknown_script(value: &Value) -> bool {
    matches!(value, Value::ServerError(error) if error.code() == "NOSCRIPT")
}
