//! Lists that the server watches for us: it tells when something was added to one (`CLIENT TRACKING`).
//!
//! Any number of lists, no socket and no command while nothing happens; but every idle consumer of a queue learns of every
//! message, which is why a [blocking move](crate::waiters) waits where most messages are.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use kombu_core::ShortStr;
use redis::Value;

use crate::connection::command;
use crate::request::Request;
use crate::session::Session;

/// Whether the server watches the lists of a queue.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Watch {
    /// No.
    #[default]
    No,
    /// It is asked to.
    Asked,
    /// Yes.
    Yes,
}

/// Asks the server to watch `keys`, lists of `queues`; the answer is how many of them have messages now.
pub(crate) fn watch(session: &Session, queues: Vec<ShortStr>, keys: &[Arc<str>]) {
    let request = Request::Watch(queues);
    let submitted = session.command.submit(request, 2, None, |_, out| {
        command::command(out, &["CLIENT", "CACHING", "YES"]);
        command::head(out, keys.len() + 1);
        command::word(out, "EXISTS");
        keys.iter().for_each(|key| command::word(out, key.as_bytes()));
    });
    // A closed link watches nothing, and nobody consumes.
    drop(submitted);
    session.touch();
}

impl Session {
    /// Uses what the server tells of keys that have changed.
    pub(crate) fn handle_changed(&self, value: &Value) {
        let Value::Push { kind: redis::PushKind::Invalidate, data } = value else { return };
        match data.first() {
            Some(Value::Array(keys)) => {
                for key in keys {
                    let Value::BulkString(key) = key else { continue };
                    let key = String::from_utf8_lossy(key);
                    if !self.handle_policy_changed(&key)
                        && !self.lock(&self.route_cache).handle_changed(&key)
                        && !self.handle_changed_standing(&key)
                    {
                        self.poller().handle_changed(self, &key);
                    }
                }
            }
            // Everything is gone, what was bound and the server's memory of our inboxes too.
            _ => {
                self.lock(&self.route_cache).clear();
                self.handle_lost_history();
                // Only now, for whoever publishes on another thread: what is sent later comes after that.
                self.flushes.fetch_add(1, Ordering::Release);
                self.lock(&self.standings).doubt();
                self.poller().handle_flushed(self);
                self.ask_for_policies();
            }
        }
        self.touch();
    }
}
