//! Requests that a server refused for a state that passes: it loads its data, or a script keeps it busy. What says that another
//! server is to be asked, such as `READONLY`, ends the connection instead, and is repeated on the next.
//!
//! They wait here, in order, and are sent again: the first alone, as a probe, and the others once it is taken. A publish waits
//! until its deadline; what settles a message waits as long as it takes.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use kombu_core::hub::Hub;
use kombu_core::{Error, ErrorKind};
use redis::{ServerError, Value};

use crate::connection::{closed, refusal};
use crate::request::Request;
use crate::session::Session;

/// What waits to be sent again.
#[derive(Default)]
pub(crate) struct Refused {
    /// What was sent and refused.
    sent: VecDeque<Request>,
    /// What came when there was something to wait for. What is on its way by then goes before it, should it be refused too.
    behind: VecDeque<Request>,
    /// Whether the first of them is on its way.
    is_probing: bool,
    has_timer: bool,
}

impl Refused {
    /// Says whether nothing waits, so that what comes now overtakes nothing.
    pub(crate) fn is_empty(&self) -> bool {
        self.sent.is_empty() && self.behind.is_empty() && !self.is_probing
    }

    /// Takes out the first.
    fn pop(&mut self) -> Option<Request> {
        self.sent.pop_front().or_else(|| self.behind.pop_front())
    }

    /// Takes out all, in order.
    fn take(&mut self) -> impl Iterator<Item = Request> + use<> {
        std::mem::take(&mut self.sent).into_iter().chain(std::mem::take(&mut self.behind))
    }

    /// Takes out those that are late, in order.
    fn take_late(&mut self, is_late: impl Fn(&Request) -> bool) -> Vec<Request> {
        let mut late = Vec::new();
        for waiting in [&mut self.sent, &mut self.behind] {
            let (gone, left): (VecDeque<_>, VecDeque<_>) = std::mem::take(waiting).into_iter().partition(&is_late);
            late.extend(gone);
            *waiting = left;
        }
        late
    }

    /// The probe is over without an answer; the timer sends another.
    pub(crate) fn end_probe(&mut self) {
        self.is_probing = false;
    }
}

impl Session {
    /// Sends a publish behind what waits to be sent again; gives it back when nothing does.
    pub(crate) fn queue_behind_refused(&self, request: Request) -> Option<Request> {
        let mut refused = self.lock(&self.refused);
        if refused.is_empty() {
            return Some(request);
        }
        refused.behind.push_back(request);
        None
    }

    /// Keeps a refused request to send it again, if its refusal passes; gives both back otherwise.
    pub(crate) fn keep_refused(
        self: &Arc<Self>,
        hub: &dyn Hub,
        request: Request,
        value: Value,
    ) -> Option<(Request, Value)> {
        let (request, is_probe) = match request {
            Request::Probe(request) => (*request, true),
            request => (request, false),
        };
        let passes = match &value {
            Value::ServerError(error) => passes(&request, error),
            _ => false,
        };
        if !passes {
            if is_probe {
                self.release_refused();
            }
            return Some((request, value));
        }
        if let Value::ServerError(error) = &value
            && self.warnings.allows("refused", hub.now())
        {
            let error = refusal(error);
            tracing::warn!(broker = %self.target.label, %error, "the server refuses for now; trying again");
        }
        {
            let mut refused = self.lock(&self.refused);
            if is_probe {
                refused.is_probing = false;
                refused.sent.push_front(request);
            } else {
                refused.sent.push_back(request);
            }
        }
        self.watch_refused(hub);
        None
    }

    /// Looks after what waits, by timer.
    pub(crate) fn watch_refused(self: &Arc<Self>, hub: &dyn Hub) {
        {
            let mut refused = self.lock(&self.refused);
            if std::mem::replace(&mut refused.has_timer, true) {
                return;
            }
        }
        let session = Arc::downgrade(self);
        hub.call_later(
            INTERVAL,
            Box::new(move |hub| {
                if let Some(session) = session.upgrade() {
                    session.retry_refused(hub);
                }
            }),
        );
    }

    fn retry_refused(self: &Arc<Self>, hub: &dyn Hub) {
        let now = hub.now();
        let (late, probe) = {
            let mut refused = self.lock(&self.refused);
            refused.has_timer = false;
            let is_late = |request: &Request| match request {
                Request::Publish(publishing) => publishing.deadline().is_some_and(|deadline| deadline <= now),
                Request::Check(checking) => checking.deadline().is_some_and(|deadline| deadline <= now),
                _ => false,
            };
            let late = refused.take_late(is_late);
            let probe = if refused.is_probing { None } else { refused.pop() };
            refused.is_probing |= probe.is_some();
            (late, probe)
        };
        for request in late {
            let error = Error::new(ErrorKind::Timeout, "not sent in time: the server refuses for now");
            self.handle_failure_anywhere(request, false, &error);
        }
        if let Some(request) = probe {
            self.send_refused(Request::Probe(Box::new(request)));
        }
        if !self.lock(&self.refused).is_empty() {
            self.watch_refused(hub);
        }
    }

    /// The probe is over: what waited behind it is sent.
    pub(crate) fn release_refused(&self) {
        // Held while they are sent, so that what comes meanwhile stays behind them.
        let mut refused = self.lock(&self.refused);
        refused.is_probing = false;
        for request in refused.take() {
            self.send_refused(request);
        }
    }

    fn send_refused(&self, request: Request) {
        let Some((replies, bytes)) = self.bytes_of(&request) else {
            // What could be written once can be written again.
            return self.handle_failure_anywhere(request, false, &closed());
        };
        let inner = match &request {
            Request::Probe(request) => request,
            request => request,
        };
        let deadline = match inner {
            Request::Publish(publishing) => {
                self.expect_confirm();
                publishing.deadline()
            }
            Request::Check(checking) => checking.deadline(),
            _ => None,
        };
        let submitted = self.command.submit(request, replies, deadline, |_, out| out.extend_from_slice(&bytes));
        if let Err(request) = submitted {
            self.handle_failure_anywhere(*request, false, &closed());
        }
        self.touch();
    }

    /// Ends whatever waits: the session is closed.
    pub(crate) fn fail_refused(&self) {
        let waiting = self.lock(&self.refused).take();
        for request in waiting {
            self.handle_failure_anywhere(request, false, &closed());
        }
    }
}

impl Session {
    /// Says whether an answer is a refusal that passes; the log has it then.
    pub(crate) fn is_refused_for_now(&self, answer: &Value) -> bool {
        let Value::ServerError(error) = answer else { return false };
        let passes = is_passing(error);
        if passes && self.warnings.allows("refused", self.handle.now()) {
            let error = refusal(error);
            tracing::warn!(broker = %self.target.label, %error, "the server refuses for now; trying again");
        }
        passes
    }
}

/// Says whether a refusal is for a state of the server that passes by itself, whatever was asked.
pub(crate) fn is_passing(error: &ServerError) -> bool {
    matches!(error.code(), "LOADING" | "BUSY" | "BUSYLOADING")
}

/// Says whether trying again helps. What takes memory is not tried again for a publisher, who is told at once; settling gives
/// memory back, so it is.
fn passes(request: &Request, error: &ServerError) -> bool {
    let code = error.code();
    let is_passing = is_passing(error);
    match request {
        Request::Publish(_) | Request::Routes { .. } | Request::Check(_) => is_passing,
        Request::Settle(_)
        | Request::Return(_)
        | Request::Die(_)
        | Request::SetAside(_)
        | Request::Record(_)
        | Request::Recover(_)
        | Request::PushBack(_) => is_passing || matches!(code, "OOM" | "MISCONF" | "NOREPLICAS"),
        _ => false,
    }
}

/// How soon what was refused is tried again.
pub(crate) const INTERVAL: Duration = Duration::from_millis(100);

#[cfg(test)]
mod tests {
    use super::*;

    fn names(requests: impl IntoIterator<Item = Request>) -> Vec<&'static str> {
        let name = |request| match request {
            Request::Quiet(name) => name,
            _ => "?",
        };
        requests.into_iter().map(name).collect()
    }

    #[test]
    fn what_was_on_its_way_goes_before_what_came_later() {
        let mut refused = Refused::default();
        refused.sent.push_back(Request::Quiet("first"));
        refused.behind.push_back(Request::Quiet("third"));
        refused.sent.push_back(Request::Quiet("second"));
        refused.behind.push_back(Request::Quiet("late"));
        assert!(!refused.is_empty());
        assert_eq!(names(refused.take_late(|request| matches!(request, Request::Quiet("late")))), ["late"]);
        assert_eq!(names(refused.pop()), ["first"]);
        assert_eq!(names(refused.take()), ["second", "third"]);
        assert!(refused.is_empty() && refused.pop().is_none());
    }
}
