//! What the tests of the scripts take messages with.

use redis::{Cmd, Value};

use super::server::Server;
use crate::keys::Keys;
use crate::scripts::{Claim, ClaimInbox, ClaimList, ClaimQueue, Claimed, Renew, Renewed};

pub(super) const ENV: &str =
    r#"{"headers": {}, "properties": {"delivery_tag": "t", "delivery_info": {"exchange": "", "routing_key": "q"}}}"#;

pub(super) fn numbered(number: u32) -> String {
    format!("{{\"n\": {number}}}")
}

/// A list and its queue, of which there is a limit.
#[derive(Clone, Copy)]
pub(super) struct List<'a> {
    pub(super) key: &'a str,
    pub(super) queue_json: &'a str,
    pub(super) no_ack: bool,
    pub(super) limit: usize,
}

pub(super) fn list<'a>(key: &'a str, queue_json: &'a str) -> List<'a> {
    List { key, queue_json, no_ack: false, limit: 1000 }
}

/// A claim.
#[derive(Clone, Copy)]
pub(super) struct Take<'a> {
    pub(super) consumer: &'a str,
    pub(super) first_number: u64,
    pub(super) count: usize,
    pub(super) max_bytes: usize,
    pub(super) lists: &'a [List<'a>],
    pub(super) inboxes: &'a [ClaimInbox<'a>],
}

impl<'a> Take<'a> {
    /// Nine messages for `me`.
    pub(super) fn of(lists: &'a [List<'a>]) -> Self {
        Take { consumer: "me", first_number: 1, count: 9, max_bytes: 1 << 20, lists, inboxes: &[] }
    }

    pub(super) fn command(&self, keys: &Keys) -> Cmd {
        let mut queues: Vec<ClaimQueue<'a>> = Vec::new();
        let lists = self.lists.iter().map(|list| {
            let known = queues.iter().position(|queue| queue.json == list.queue_json && queue.no_ack == list.no_ack);
            let queue = known.unwrap_or_else(|| {
                queues.push(ClaimQueue { json: list.queue_json, no_ack: list.no_ack, limit: list.limit });
                queues.len() - 1
            });
            ClaimList { key: list.key, queue }
        });
        let lists: Vec<ClaimList<'a>> = lists.collect();
        Claim {
            keys,
            consumer: self.consumer,
            first_number: self.first_number,
            count: self.count,
            max_bytes: self.max_bytes,
            notes_birth: false,
            max_message_size: 1000,
            queues: &queues,
            lists: &lists,
            inboxes: self.inboxes,
        }
        .command()
    }
}

/// Claims for consumer `me`, with the numbers after those it used, and returns what came as (list, text).
pub(super) fn claim(
    server: &mut Server,
    count: usize,
    lists: &[List<'_>],
    inboxes: &[ClaimInbox<'_>],
) -> Vec<(usize, String)> {
    let keys = server.keys.clone();
    register(server, "me");
    let next: Option<u64> = server.command(&["HGET", &keys.consumer("me"), "next"]);
    let take = Take { first_number: next.unwrap_or(1), count, inboxes, ..Take::of(lists) };
    let answer: Value = server.run(&take.command(&keys));
    let messages = Claim::read(answer).unwrap().into_iter().map(|claimed| match claimed {
        Claimed::Message { list, text } => (list, String::from_utf8(text.to_vec()).unwrap()),
        Claimed::SetAside { .. } => panic!("set aside: {claimed:?}"),
    });
    messages.collect()
}

/// Registers a consumer for an hour.
pub(super) fn register(server: &mut Server, consumer: &str) {
    let keys = server.keys.clone();
    let words = ("", "");
    let renew =
        Renew { keys: &keys, consumer, lease: 3_600_000, is_new: true, held: "", from: 1, words, refreshed: &[] };
    let answer: Value = server.run(&renew.command());
    assert!(matches!(Renew::read(&answer).unwrap(), Renewed::Alive { .. }));
}
