//! Publishes that were sent by routes which changed before the answer came: the routes are read again, and the message goes to the
//! queues it missed before it is confirmed.
//!
//! A change that the server tells of before the answer to a publish may have been made before it: then whoever bound a queue
//! first and saw that done may count on the message. What an unbound queue has got meanwhile stays there, as it would if the
//! publish had come first.

use std::collections::HashMap;
use std::time::Instant;

use kombu_core::{Error, ErrorKind, ShortStr};
use redis::Value;

use crate::connection::closed;
use crate::publish::Publishing;
use crate::request::Request;
use crate::routes::{Found, Reading};
use crate::session::Session;

/// What waits for the next tick to be checked, by exchange.
#[derive(Default)]
pub(crate) struct RouteChecks(HashMap<ShortStr, Vec<Publishing>>);

/// Publishes that wait for a read.
pub(crate) struct Checking {
    pub(crate) reading: Reading,
    publishes: Vec<Publishing>,
}

impl Checking {
    /// Returns until when the first of them is to be answered.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        self.publishes.iter().filter_map(Publishing::deadline).min()
    }
}

impl Session {
    /// Returns a publish that the server has executed if the routes it was sent by were kept until then; sees to it otherwise.
    pub(crate) fn check_route(&self, publishing: Publishing) -> Option<Publishing> {
        let Some(number) = publishing.route() else { return Some(publishing) };
        let exchange = publishing.exchange().clone();
        let cache = self.lock(&self.route_cache);
        if cache.is_kept(&exchange, number) {
            return Some(publishing);
        }
        let newer = cache.table(&exchange);
        drop(cache);
        match newer {
            // It was read before the publish, and has not changed since.
            Some((number, table)) => {
                let found = Found { exchange, table: Ok(table), number: Some(number) };
                self.finish_check(publishing, &found);
            }
            None => {
                let mut checks = self.lock(&self.route_checks);
                checks.0.entry(exchange).or_default().push(publishing);
                drop(checks);
                self.touch();
            }
        }
        None
    }

    /// Reads the routes of what has gathered.
    pub(crate) fn submit_route_checks(&self) {
        let gathered = std::mem::take(&mut self.lock(&self.route_checks).0);
        for (exchange, publishes) in gathered {
            let reading = Reading::new(self, &exchange);
            let replies = reading.replies();
            let checking = Checking { reading, publishes };
            let deadline = checking.deadline();
            let request = Request::Check(Box::new(checking));
            let write = |request: &Request, out: &mut Vec<u8>| {
                if let Request::Check(checking) = request {
                    checking.reading.write(self, out);
                }
            };
            if let Err(request) = self.command.submit(request, replies, deadline, write)
                && let Request::Check(checking) = *request
            {
                self.handle_lost_check(*checking, &closed());
            }
        }
    }

    /// Sends publishes to the queues they have missed.
    pub(crate) fn handle_checked(&self, checking: Checking, value: &Value) {
        let Checking { reading, publishes } = checking;
        let exchange = reading.exchange.clone();
        match reading.handle_answer(self, value) {
            Some(found) => publishes.into_iter().for_each(|publishing| self.finish_check(publishing, &found)),
            None => {
                self.lock(&self.route_checks).0.entry(exchange).or_default().extend(publishes);
                self.touch();
            }
        }
    }

    /// A check has no answer: whose time has passed is told so, and the others are checked again.
    pub(crate) fn handle_lost_check(&self, checking: Checking, error: &Error) {
        let now = self.handle.now();
        let is_late = |publishing: &Publishing| publishing.deadline().is_some_and(|deadline| deadline <= now);
        let is_over = error.kind() != ErrorKind::Timeout;
        let (late, kept): (Vec<_>, Vec<_>) =
            checking.publishes.into_iter().partition(|publishing| is_over || is_late(publishing));
        late.into_iter().for_each(|publishing| publishing.fail(self, true, error));
        if !kept.is_empty() {
            self.lock(&self.route_checks).0.entry(checking.reading.exchange).or_default().extend(kept);
            self.touch();
        }
    }

    /// Ends what waits to be checked: there is no connection to come.
    pub(crate) fn fail_route_checks(&self) {
        let gathered = std::mem::take(&mut self.lock(&self.route_checks).0);
        gathered.into_values().flatten().for_each(|publishing| publishing.fail(self, true, &closed()));
    }

    fn finish_check(&self, publishing: Publishing, found: &Found) {
        if let Some((exchange, publishing)) = publishing.reroute(self, found) {
            self.lock(&self.route_checks).0.entry(exchange).or_default().push(publishing);
            self.touch();
        }
    }
}
