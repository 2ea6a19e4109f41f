//! The Lua scripts: what must happen in one step on the server.
//!
//! They need Redis 6.2. Each works when the server refuses writes for lack of memory, because its first write is one that
//! Redis allows then; the exception is binding, which is not what frees memory.
//!
//! Messages are given back by changing their text where the flags are, on the server. The alternatives were worse: decoding
//! and encoding with cjson changes large integers, empty lists and `NaN`; sending the text back needs every client to keep
//! the text of all it holds, and cannot serve the messages of consumers that died.

mod ack;
mod bind_expiring;
mod binding;
mod broadcast;
mod claim;
mod dead_letter;
mod define;
mod delete_queue;
mod history;
mod joining;
mod lease;
mod look;
mod push;
mod record;
mod registry;
mod requeue;
mod set_aside;
mod sweep_bindings;
mod told;
mod unlock;

use std::sync::LazyLock;

use kombu_core::{Error, ErrorKind};
use redis::{Cmd, Value};

pub(crate) use self::ack::Ack;
pub(crate) use self::bind_expiring::BindExpiring;
pub(crate) use self::binding::{Bind, DeleteExchange, Led, Unbind};
pub(crate) use self::broadcast::{Broadcast, hash_of, is_stored_for};
pub(crate) use self::claim::{Claim, ClaimInbox, ClaimList, ClaimQueue, Claimed};
pub(crate) use self::dead_letter::DeadLetter;
pub(crate) use self::define::Define;
pub(crate) use self::delete_queue::{DeleteQueue, Deleted};
pub(crate) use self::history::{Count, Mark};
pub(crate) use self::joining::{Join, Joined, Part, Room};
pub(crate) use self::lease::{Bury, Ending, NoteInboxes, Reap, Reaped, Renew, Renewed};
pub(crate) use self::look::Look;
pub(crate) use self::push::{Place, Push};
pub(crate) use self::record::{Record, Recorded};
pub(crate) use self::registry::{DeclareQueue, UseQueue};
pub(crate) use self::requeue::{Copy, GivenBack, Requeue, Requeued};
pub(crate) use self::set_aside::SetAside;
pub(crate) use self::sweep_bindings::SweepBindings;
pub(crate) use self::told::Told;
pub(crate) use self::unlock::Unlock;

/// A Lua script and the hash the server knows it by once it is loaded.
#[derive(Debug)]
pub(crate) struct Script {
    name: &'static str,
    source: &'static str,
    sha1: String,
}

impl Script {
    fn new(name: &'static str, source: &'static str) -> Self {
        Script { name, source, sha1: redis::Script::new(source).get_hash().to_owned() }
    }

    /// Returns the name.
    #[cfg(test)]
    pub(crate) fn name(&self) -> &'static str {
        self.name
    }

    /// Returns the hash in hexadecimal.
    #[cfg(test)]
    pub(crate) fn sha1(&self) -> &str {
        &self.sha1
    }

    /// Returns the hash the server knows it by.
    fn hash(&self) -> &str {
        &self.sha1
    }

    /// Returns the command that loads it.
    pub(crate) fn load(&self) -> Cmd {
        let mut command = redis::cmd("SCRIPT");
        command.arg("LOAD").arg(self.source);
        command
    }

    /// Begins the command that runs it with `keys` keys; keys and arguments follow.
    fn evalsha(&self, keys: usize) -> Cmd {
        let mut command = redis::cmd("EVALSHA");
        command.arg(&self.sha1).arg(keys);
        command
    }
}

/// Returns every script, to be loaded together.
pub(crate) fn all() -> &'static [Script] {
    &*SCRIPTS
}

fn script(name: &str) -> &'static Script {
    let found = SCRIPTS.iter().find(|script| script.name == name);
    // Each caller passes a name from the list below; a test calls every one.
    #[expect(clippy::expect_used, reason = "the names are those of this module")]
    found.expect("a script of that name")
}

/// Returns the hash the server knows a script by.
pub(crate) fn hash(name: &str) -> &'static str {
    script(name).hash()
}

macro_rules! source {
    ($($file:literal),+) => {
        concat!($(include_str!(concat!("scripts/", $file))),+)
    };
}

static SCRIPTS: LazyLock<[Script; 29]> = LazyLock::new(|| {
    [
        Script::new("claim", source!("claim.lua")),
        Script::new("record", source!("record.lua")),
        Script::new("ack", source!("ack.lua")),
        Script::new("requeue", source!("splice.lua", "requeue.lua")),
        Script::new("set_aside", source!("splice.lua", "set_aside.lua")),
        Script::new("bind_expiring", source!("bind_expiring.lua")),
        Script::new("define", source!("define.lua")),
        Script::new("history", source!("history.lua")),
        Script::new("join", source!("join.lua")),
        Script::new("part", source!("topology.lua", "part.lua")),
        Script::new("use_queue", source!("use_queue.lua")),
        Script::new("declare_queue", source!("topology.lua", "declare_queue.lua")),
        Script::new("publish", source!("publish.lua")),
        Script::new("room", source!("room.lua")),
        Script::new("delete_queue", source!("topology.lua", "delete_queue.lua")),
        Script::new("delete_exchange", source!("topology.lua", "delete_exchange.lua")),
        Script::new("bind", source!("topology.lua", "bind.lua")),
        Script::new("unbind", source!("topology.lua", "unbind.lua")),
        Script::new("sweep_bindings", source!("sweep_bindings.lua")),
        Script::new("broadcast", source!("broadcast.lua")),
        Script::new("unlock", source!("unlock.lua")),
        Script::new("renew_lock", source!("renew_lock.lua")),
        Script::new("renew", source!("renew.lua")),
        Script::new("inbox", source!("inbox.lua")),
        Script::new("reap", source!("reap.lua")),
        Script::new("bury", source!("bury.lua")),
        Script::new("push", source!("policy.lua", "push.lua")),
        Script::new("look", source!("policy.lua", "look.lua")),
        Script::new("dead_letter", source!("splice.lua", "policy.lua", "dead_letter.lua")),
    ]
});

/// Makes the error of an answer that does not look like the script's.
#[cold]
fn unexpected(script: &'static str, answer: &Value) -> Error {
    let answer: String = format!("{answer:?}").chars().take(200).collect();
    Error::new(ErrorKind::Protocol, format!("the script `{script}` answered {answer}"))
}
