//! With the option `topology=registry`: what must be there is there, and is ours to use.
//!
//! Queues and exchanges are known by their hashes, apart from messages and bindings. That holds only where every program is ours:
//! what Python publishes goes by Kombu's keys alone.

use std::sync::Arc;

use kombu_core::method::QueueDeclare;
use kombu_core::{Error, ErrorKind, ExchangeKind, Result, Scope, ShortStr};
use kombu_virtual::QueueDefinition;

use crate::binding::member;
use crate::connection::command;
use crate::define::differs;
use crate::definition::{self, Definition};
use crate::policies::policy_of;
use crate::scripts::{self, Bind, DeclareQueue, Led, Unbind, UseQueue};
use crate::session::Session;

impl Session {
    /// Makes sure that a queue is there, and that no other connection has it exclusively. To have asked is to have used it.
    ///
    /// # Errors
    ///
    /// `NotFound`, `ResourceLocked`.
    pub(crate) async fn check_queue(&self, queue: &str) -> Result<()> {
        if !self.has_registry() {
            return Ok(());
        }
        self.use_queue(queue, false).await.map(drop)
    }

    /// Makes sure of the same, and removes the ready messages if `purges`; returns how many those were.
    ///
    /// # Errors
    ///
    /// As for [`check_queue`](Session::check_queue).
    pub(crate) async fn use_queue(&self, queue: &str, purges: bool) -> Result<u32> {
        let name = Arc::clone(self.lock(&self.identity).name());
        let used = UseQueue { keys: &self.keys, queue, purged_by: purges.then_some(&*name) }.command();
        let answer = self.call_script(1, |out| used.write_packed_command(out)).await?;
        let (owner, count) = UseQueue::read(&answer)?.ok_or_else(|| no_queue(queue))?;
        self.check_owner(queue, &owner)?;
        Ok(count)
    }

    /// Makes a queue, or makes sure that it is there as it is declared.
    ///
    /// # Errors
    ///
    /// `PreconditionFailed`, `ResourceLocked`.
    pub(crate) async fn register_queue(
        self: &Arc<Self>,
        queue: &str,
        method: &QueueDeclare,
        policy: Option<&[u8]>,
    ) -> Result<()> {
        let definition = QueueDefinition::from(method.clone());
        let fields = definition.to_fields().map_err(|error| error.with("queue", queue))?;
        let owner = method.exclusive.then(|| self.ensure_registered());
        let expires = self.topology.expires_of(method);
        let (keys, owner, fields) = (&self.keys, owner.as_deref(), &fields[..]);
        let declare = DeclareQueue { keys, queue, owner, expires, policy, is_again: false, fields }.command();
        let answer = self.call_script(1, |out| declare.write_packed_command(out)).await?;
        self.note_told();
        let Some((owner, known)) = DeclareQueue::read(answer)? else { return Ok(()) };
        self.check_owner(queue, &owner)?;
        let known = definition::read::<QueueDefinition>(&known).map_err(|error| error.with("queue", queue))?;
        match known.as_ref().and_then(|known| known.difference(&definition)) {
            None => self.check_queue(queue).await,
            Some(property) => Err(differs("queue", queue, property)),
        }
    }

    /// Binds a queue that is there to an exchange that is there.
    ///
    /// # Errors
    ///
    /// `NotFound`, `ResourceLocked`.
    pub(crate) async fn register_binding(
        &self,
        exchange: &str,
        kind: &ExchangeKind,
        queue: &str,
        key: &str,
    ) -> Result<()> {
        self.check_queue(queue).await?;
        let text = member(kind, key, queue, self.keys.sep());
        let is_checked = built_in(exchange).is_none();
        let bind = Bind { keys: &self.keys, exchange, to: Led::Queue(queue), text: &text, is_checked }.command()?;
        let answer = self.call_script(1, |out| bind.write_packed_command(out)).await?;
        self.topology.note_change(exchange);
        match answer {
            redis::Value::Int(0) => Err(crate::binding::no_exchange(exchange).in_scope(Scope::Channel)),
            redis::Value::Int(-1) => Err(no_queue(queue)),
            _ => Ok(()),
        }
    }

    /// Ends bindings of a queue to an exchange.
    ///
    /// # Errors
    ///
    /// Those of the connection.
    pub(crate) async fn end_registered(&self, exchange: &ShortStr, queue: &str, texts: &[String]) -> Result<()> {
        let unbind = Unbind { keys: &self.keys, exchange, to: Led::Queue(queue), texts }.command()?;
        self.call_script(1, |out| unbind.write_packed_command(out)).await?;
        self.topology.note_change(exchange);
        Ok(())
    }

    /// Makes a queue that the server has lost, unless it is there; one of another connection's own is its to make.
    pub(crate) fn register_again(self: &Arc<Self>, queue: &ShortStr, definition: &QueueDefinition) {
        if definition.exclusive && !self.lock(&self.exclusive).contains(queue) {
            return;
        }
        // What could be written once can be written again.
        let (Ok(fields), Ok(policy)) = (definition.to_fields(), policy_of(queue, definition)) else { return };
        let owner = definition.exclusive.then(|| self.ensure_registered());
        let declare = DeclareQueue {
            keys: &self.keys,
            queue,
            owner: owner.as_deref(),
            expires: self.topology.expires(queue),
            policy: policy.as_ref().map(|(_, text)| text.as_slice()),
            is_again: true,
            fields: &fields,
        };
        self.run_quietly("declaring again", &declare.command());
    }

    /// Returns the script that binds a queue which may not be there any more: whoever deletes it finds the binding.
    pub(crate) fn bind_again(&self, exchange: &str, member: &str, queue: &str) -> Result<redis::Cmd> {
        Bind { keys: &self.keys, exchange, to: Led::Queue(queue), text: member, is_checked: false }.command()
    }

    /// Returns the kind of an exchange that need not be asked for: with a registry only that of the broker's own.
    pub(crate) fn known_kind(&self, exchange: &str) -> Option<ExchangeKind> {
        if self.has_registry() { built_in(exchange) } else { self.topology.exchange_kind(exchange) }
    }

    /// Writes the script that puts copies into those queues that are there.
    pub(crate) fn write_publish<'q>(
        &self,
        lists: impl ExactSizeIterator<Item = (&'q str, &'q str)>,
        out: &mut Vec<u8>,
        copy: impl Fn(&mut Vec<u8>),
    ) {
        let count = lists.len();
        command::head(out, 3 + 3 * count);
        command::word(out, "EVALSHA");
        command::word(out, scripts::hash("publish"));
        command::word(out, (2 * count).to_string());
        for (queue, list) in lists {
            command::word(out, self.keys.queue_definition(queue));
            command::word(out, list);
        }
        (0..count).for_each(|_| copy(out));
    }

    fn check_owner(&self, queue: &str, owner: &str) -> Result<()> {
        if owner.is_empty() || self.lock(&self.identity).has(owner) {
            return Ok(());
        }
        Err(Error::new(ErrorKind::ResourceLocked, "the queue belongs to another connection exclusively")
            .in_scope(Scope::Channel)
            .with("queue", queue))
    }
}

/// AMQP 404 for a queue.
#[cold]
pub(crate) fn no_queue(queue: &str) -> Error {
    Error::new(ErrorKind::NotFound, "there is no queue of that name").in_scope(Scope::Channel).with("queue", queue)
}

/// Makes sure that a name is not the broker's.
///
/// # Errors
///
/// `AccessRefused`.
pub(crate) fn check_not_reserved(what: &'static str, name: &str) -> Result<()> {
    if name.starts_with("amq.") {
        let message = "names that start with `amq.` are the broker's";
        return Err(Error::new(ErrorKind::AccessRefused, message).in_scope(Scope::Channel).with(what, name));
    }
    Ok(())
}

/// Returns the kind of an exchange that every broker has.
pub(crate) fn built_in(exchange: &str) -> Option<ExchangeKind> {
    match exchange {
        "amq.direct" => Some(ExchangeKind::Direct),
        "amq.topic" => Some(ExchangeKind::Topic),
        "amq.fanout" => Some(ExchangeKind::Fanout),
        "amq.headers" | "amq.match" => Some(ExchangeKind::Headers),
        _ => None,
    }
}
