//! Broadcasting.

use kombu_core::{Result, ShortStr};
use redis::Value;

use super::{script, unexpected};
use crate::connection::command;
use crate::keys::Keys;

/// Publishes a message of a fanout exchange, with a copy for each of its stored queues.
#[derive(Debug)]
pub(crate) struct Broadcast<'a> {
    /// The names of the shared keys.
    pub(crate) keys: &'a Keys,
    /// The exchange.
    pub(crate) exchange: &'a str,
    /// Its routing key.
    pub(crate) routing_key: &'a str,
    /// Its priority.
    pub(crate) priority: u8,
    /// The letter that is sent on, and the hash it waits in: when it is gone already, nothing is done.
    pub(crate) letter: Option<(&'a str, &'a str)>,
    /// How long the copies in stored queues may wait, in milliseconds.
    pub(crate) ttl: Option<u64>,
    /// Whether only queues with a definition get a copy.
    pub(crate) is_checked: bool,
    /// The queues that have the message already.
    pub(crate) reached: &'a [ShortStr],
}

impl Broadcast<'_> {
    /// Appends the command; `message` appends its last word, the message.
    pub(crate) fn write(&self, out: &mut Vec<u8>, message: impl FnOnce(&mut Vec<u8>)) {
        let Broadcast { keys, exchange, routing_key, priority, letter, ttl, is_checked, reached } = self;
        let is_more = letter.is_some() || ttl.is_some() || *is_checked || !reached.is_empty();
        command::head(out, 10 + usize::from(letter.is_some()) + if is_more { 3 + reached.len() } else { 0 });
        command::word(out, "EVALSHA");
        command::word(out, script("broadcast").hash());
        command::word(out, if letter.is_some() { "2" } else { "1" });
        command::word(out, keys.stored(exchange));
        if let Some((letters, _)) = letter {
            command::word(out, letters);
        }
        command::word(out, keys.fanout_channel(exchange, routing_key));
        command::word(out, keys.stored_key(routing_key));
        command::word(out, keys.sep());
        command::word(out, keys.prefix());
        command::word(out, keys.list_suffix(*priority));
        message(out);
        if is_more {
            command::word(out, letter.map_or("", |(_, id)| id));
            command::word(out, ttl.map(|ttl| ttl.to_string()).unwrap_or_default());
            command::word(out, if *is_checked { "r" } else { "" });
            reached.iter().for_each(|queue| command::word(out, queue.as_str()));
        }
    }
}

/// What became of it.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Told {
    /// How many listen.
    pub(crate) listeners: usize,
    /// Whether one of the queues is to be looked at for its policy.
    pub(crate) is_due: bool,
    /// The stored queues that got a copy.
    pub(crate) stored: Vec<ShortStr>,
}

impl Broadcast<'_> {
    /// Reads the answer.
    ///
    /// # Errors
    ///
    /// `Protocol` when it is not this script's.
    pub(crate) fn read(answer: &Value) -> Result<Told> {
        let told = || {
            let Value::Array(parts) = answer else { return None };
            let [Value::Int(listeners), Value::Int(due), Value::Array(stored)] = parts.as_slice() else { return None };
            let queue = |queue: &Value| match queue {
                Value::BulkString(queue) => std::str::from_utf8(queue).ok().map(ShortStr::from),
                _ => None,
            };
            let stored = stored.iter().map(queue).collect::<Option<_>>()?;
            Some(Told { listeners: usize::try_from(*listeners).ok()?, is_due: *due > 0, stored })
        };
        told().ok_or_else(|| unexpected("broadcast", answer))
    }
}

/// Says whether a message that was heard lies in the stored queue of hash `queue` as well.
pub(crate) fn is_stored_for(message: &[u8], queue: &str) -> bool {
    let Some(rest) = message.strip_prefix(MARK) else { return false };
    let Some(end) = memchr::memchr(b'"', rest) else { return false };
    rest[..end].split(|byte| *byte == b' ').any(|hash| hash == queue.as_bytes())
}

/// Returns the hash a queue is marked by.
pub(crate) fn hash_of(queue: &str) -> String {
    // Scripts are known by SHA-1 as well.
    redis::Script::new(queue).get_hash().to_owned()
}

const MARK: &[u8] = b"{\"stored\": \"";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_names_queues() {
        // SHA-1 of "q".
        assert_eq!(hash_of("q"), "22ea1c649c82946aa6e479e1ffd321e4a318b1b0");
        let marked = format!("{{\"stored\": \"{} {}\", \"body\": \"\"}}", hash_of("a"), hash_of("q"));
        assert!(is_stored_for(marked.as_bytes(), &hash_of("q")) && is_stored_for(marked.as_bytes(), &hash_of("a")));
        assert!(!is_stored_for(marked.as_bytes(), &hash_of("b")));
        assert!(!is_stored_for(b"{\"body\": \"\"}", &hash_of("q")));
    }
}
