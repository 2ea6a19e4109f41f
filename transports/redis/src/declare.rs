//! Declaring, binding and purging.

use std::sync::Arc;
use std::time::Duration;

use kombu_core::method::{ExchangeDeclare, QueueBind, QueueDeclare, QueueDeclared};
use kombu_core::serialization::json;
use kombu_core::{Error, ErrorKind, ExchangeKind, Result, Scope, ShortStr, Value as Argument};
use kombu_virtual::delay;
use redis::{Cmd, Value};

use crate::bind::{check_not_default, is_by_headers};
use crate::binding::{self, no_exchange};
use crate::connection::{command, refusal, unexpected};
use crate::policies::policy_of;
use crate::registry::{built_in, check_not_reserved};
use crate::scripts::BindExpiring;
use crate::session::Session;
use crate::topology::routing_kind;

impl Session {
    /// Notes an exchange, or asks whether it exists.
    pub(crate) async fn exchange_declare(&self, method: ExchangeDeclare) -> Result<()> {
        if self.has_registry() {
            check_not_default(&method.exchange)?;
            if built_in(&method.exchange) == Some(method.kind.clone()) {
                return Ok(());
            }
        }
        if !method.passive {
            let kind = routing_kind(&method.kind, &method.arguments);
            if let ExchangeKind::Other(_) = &kind {
                let message = match kind.as_str() {
                    delay::KIND => format!("the argument `{}` does not say how the exchange routes", delay::INNER_KIND),
                    other => format!("the redis transport has no {other} exchanges"),
                };
                return Err(Error::new(ErrorKind::Unsupported, message).with("exchange", &method.exchange));
            }
            if self.has_registry() {
                check_not_reserved("exchange", &method.exchange)?;
                self.define_exchange(&method.exchange, &method.clone().into()).await?;
                self.topology.replace_exchange(&method);
                return Ok(());
            }
            self.topology.check_exchange(&method)?;
            self.define_exchange(&method.exchange, &method.clone().into()).await?;
            self.topology.declare_exchange(&method)?;
            return match method.arguments.get("alternate-exchange").and_then(Argument::as_str) {
                Some(alternate) => self.define_linked(alternate).await,
                None => Ok(()),
            };
        }
        if method.exchange.is_empty() {
            return Ok(());
        }
        self.kind_of(&method.exchange).await.map(drop)
    }

    /// Returns how an exchange routes: as this process declared it, as it is kept, or as a direct one if it has bindings.
    ///
    /// # Errors
    ///
    /// `NotFound`.
    pub(crate) async fn kind_of(&self, exchange: &str) -> Result<ExchangeKind> {
        if let Some(kind) = self.known_kind(exchange) {
            return Ok(kind);
        }
        if let Some(definition) = self.exchange_definition(exchange).await? {
            return Ok(routing_kind(&definition.kind, &definition.arguments));
        }
        if !self.has_registry() && self.is_bound(exchange).await? {
            return Ok(ExchangeKind::default());
        }
        Err(no_exchange(exchange).in_scope(Scope::Channel))
    }

    /// Names a queue and counts its messages.
    pub(crate) async fn queue_declare(self: &Arc<Self>, method: QueueDeclare) -> Result<QueueDeclared> {
        if method.queue.contains(self.keys.sep()) {
            let message = "the name holds the separator of the option `sep`";
            return Err(Error::new(ErrorKind::InvalidArgument, message).with("queue", &method.queue));
        }
        let queue = match method.queue.is_empty() {
            true => ShortStr::from(format!("amq.gen-{}", uuid::Uuid::new_v4())),
            false => method.queue.clone(),
        };
        if self.has_registry() {
            let is_new = match self.check_queue(&queue).await {
                Err(error) if error.kind() == ErrorKind::NotFound && !method.passive => true,
                checked => checked.map(|()| false)?,
            };
            if is_new && !method.queue.is_empty() {
                check_not_reserved("queue", &queue)?;
            }
        }
        let known = self.topology.queue(&queue);
        if method.passive
            && !self.has_registry()
            && known.is_none()
            && !self.exists(&queue).await?
            && self.queue_definition(&queue).await?.is_none()
        {
            let message = "no queue of that name: it has no messages, and this process did not declare it";
            return Err(Error::new(ErrorKind::NotFound, message).in_scope(Scope::Channel).with("queue", &queue));
        }
        if !method.passive {
            let policy = policy_of(&queue, &method.clone().into())?;
            let text = policy.as_ref().map(|(_, text)| text.as_slice());
            match self.has_registry() {
                true => self.register_queue(&queue, &method, text).await?,
                false => self.define_queue(&queue, &method.clone().into(), text).await?,
            }
            if let Some((policy, _)) = policy {
                self.note_policy(&queue, policy);
            }
            self.topology.declare_queue(&queue, &method);
            let mut exclusive = self.lock(&self.exclusive);
            if method.exclusive && !exclusive.contains(&queue) {
                exclusive.push(queue.clone());
            }
        }
        let (message_count, consumer_count) = self.counts(&queue).await?;
        Ok(QueueDeclared { queue, message_count, consumer_count })
    }

    /// Routes from an exchange to a queue.
    pub(crate) async fn queue_bind(&self, method: QueueBind) -> Result<()> {
        if method.exchange.is_empty() {
            let message = "the default exchange routes to every queue by its name; it takes no bindings";
            return Err(Error::new(ErrorKind::AccessRefused, message)
                .in_scope(Scope::Channel)
                .with("queue", &method.queue));
        }
        let kind = self.kind_of(&method.exchange).await?;
        if is_by_headers(&kind) {
            self.check_queue(&method.queue).await?;
            return self.bind_by_headers(method).await;
        }
        let is_new = !self
            .topology
            .bindings_of(&method.exchange)
            .iter()
            .any(|(queue, key)| *queue == method.queue && *key == method.routing_key);
        self.topology.bind(&method.queue, &method.exchange, &method.routing_key);
        if self.has_registry() {
            let QueueBind { queue, exchange, routing_key, .. } = &method;
            if let Err(error) = self.register_binding(exchange, &kind, queue, routing_key).await {
                self.topology.unbind(queue, exchange, routing_key);
                return Err(error);
            }
        } else {
            let (replies, bytes) = self.bind_bytes(&method.exchange, &kind, &method.queue, &method.routing_key);
            let answer = self.call_script(replies, |out| out.extend_from_slice(&bytes)).await;
            self.topology.note_change(&method.exchange);
            succeed(&answer?)?;
        }
        self.note_told();
        if kind == ExchangeKind::Fanout {
            self.store_broadcasts(&method).await?;
            let subscribed = self.poller().rebind(self, &method.queue);
            self.touch();
            for one in subscribed {
                match one.await {
                    // A consumer that is cancelled meanwhile, or the whole session closed, makes no binding fail.
                    None | Some(Ok(())) => {}
                    Some(Err(error)) if error.kind() == ErrorKind::Closed => {}
                    Some(Err(error)) => {
                        if is_new && let Err(error) = self.queue_unbind(method).await {
                            tracing::debug!(%error, "a binding the server does not allow could not be removed");
                        }
                        return Err(error);
                    }
                }
            }
        }
        Ok(())
    }

    /// Lists the queue among those that get the exchange's messages while nobody consumes, if that is asked for and the queue
    /// stays while nobody does.
    async fn store_broadcasts(&self, method: &QueueBind) -> Result<()> {
        if !self.is_stored(&method.queue) {
            return Ok(());
        }
        let (stored, member) =
            (self.keys.stored(&method.exchange), self.keys.stored_member(&method.queue, &method.routing_key));
        if !self.has_registry() {
            return self.call(1, |out| command::command(out, &["SADD", &stored, &member])).await.map(drop);
        }
        // Whoever deletes the queue finds it there.
        let (led, entry) = (self.keys.bound_queue(&method.queue), stored_entry(&method.exchange, &member)?);
        let added = self.transaction(2, |out| {
            command::command(out, &["SADD", &stored, &member]);
            command::command(out, &["SADD", &led, &entry]);
        });
        added.await.map(drop)
    }

    /// Says whether the queue keeps broadcast messages.
    pub(crate) fn is_stored(&self, queue: &str) -> bool {
        let facts = self.topology.queue(queue).unwrap_or_default();
        self.options.fanout_stored && !facts.auto_delete && !facts.exclusive && facts.expires.is_none()
    }

    /// Returns the commands that bind, and how many replies they have.
    pub(crate) fn bind_bytes(&self, exchange: &str, kind: &ExchangeKind, queue: &str, key: &str) -> (u32, Vec<u8>) {
        if let Some(script) = self.bind_script(exchange, kind, queue, key) {
            return (1, script.get_packed_command());
        }
        let member = binding::member(kind, key, queue, self.keys.sep());
        let mut out = Vec::new();
        command::command(&mut out, &["MULTI"]);
        command::command(&mut out, &["SADD", &self.keys.binding(exchange), &member]);
        command::command(&mut out, &["SADD", &self.keys.binding_permanent(exchange), &member]);
        command::command(&mut out, &["EXEC"]);
        (4, out)
    }

    /// Returns the script that binds a queue that expires.
    pub(crate) fn bind_script(&self, exchange: &str, kind: &ExchangeKind, queue: &str, key: &str) -> Option<Cmd> {
        let ttl = BindExpiring::ttl(Duration::from_millis(self.topology.expires(queue)?));
        let member = binding::member(kind, key, queue, self.keys.sep());
        Some(BindExpiring { keys: &self.keys, exchange, ttl, members: &[member] }.command())
    }

    /// Ends a route.
    pub(crate) async fn queue_unbind(&self, method: QueueBind) -> Result<()> {
        match self.kind_of(&method.exchange).await {
            Ok(kind) if is_by_headers(&kind) => return self.unbind_by_headers(method).await,
            Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        self.topology.unbind(&method.queue, &method.exchange, &method.routing_key);
        drop(self.poller().rebind(self, &method.queue));
        self.touch();
        if self.has_registry() {
            let QueueBind { queue, exchange, routing_key, .. } = &method;
            let texts = [ExchangeKind::Direct, ExchangeKind::Topic]
                .map(|kind| binding::member(&kind, routing_key, queue, self.keys.sep()));
            self.end_registered(exchange, queue, &texts).await?;
            let (stored, member) = (self.keys.stored(exchange), self.keys.stored_member(queue, routing_key));
            let (led, entry) = (self.keys.bound_queue(queue), stored_entry(exchange, &member)?);
            let removed = self.transaction(2, |out| {
                command::command(out, &["SREM", &stored, &member]);
                command::command(out, &["SREM", &led, &entry]);
            });
            return removed.await.map(drop);
        }
        self.remove_bindings(&method.queue, &[(method.exchange, method.routing_key)]).await
    }

    /// Removes bindings of a queue.
    pub(crate) async fn remove_bindings(&self, queue: &str, bindings: &[(ShortStr, ShortStr)]) -> Result<()> {
        if bindings.is_empty() {
            return Ok(());
        }
        // The kind may be unknown here, or have been another when the binding was made.
        let members = |key: &str| {
            [ExchangeKind::Direct, ExchangeKind::Topic].map(|kind| binding::member(&kind, key, queue, self.keys.sep()))
        };
        let answers = self.transaction(3 * bindings.len(), |out| {
            for (exchange, key) in bindings {
                command::command(out, &["SREM", &self.keys.stored(exchange), &self.keys.stored_member(queue, key)]);
                let [plain, pattern] = members(key);
                for table in [self.keys.binding(exchange), self.keys.binding_permanent(exchange)] {
                    command::command(out, &["SREM", &table, &plain, &pattern]);
                }
            }
        });
        let removed = answers.await.map(drop);
        bindings.iter().for_each(|(exchange, _)| self.topology.note_change(exchange));
        removed
    }

    /// Removes the ready messages of a queue.
    pub(crate) async fn queue_purge(&self, queue: &str) -> Result<u32> {
        if self.has_registry() {
            return self.use_queue(queue, true).await;
        }
        let lists: Vec<String> = self.keys.lists(queue).collect();
        let answers = self.transaction(2 * lists.len(), |out| {
            for list in &lists {
                command::command(out, &["LLEN", list]);
                command::command(out, &["DEL", list]);
            }
        });
        Ok(sum(answers.await?.iter().step_by(2)))
    }

    /// Counts the ready messages and the consumers of a queue.
    async fn counts(&self, queue: &str) -> Result<(u32, u32)> {
        let lists: Vec<String> = self.keys.lists(queue).collect();
        let answers = self.transaction(lists.len() + 1, |out| {
            command::command(out, &["HLEN", &self.keys.consumers_of(queue)]);
            for list in &lists {
                command::command(out, &["LLEN", list]);
            }
        });
        let answers = answers.await?;
        Ok((sum(answers.iter().skip(1)), sum(answers.iter().take(1))))
    }

    async fn exists(&self, queue: &str) -> Result<bool> {
        let words: Vec<String> = std::iter::once("EXISTS".to_owned()).chain(self.keys.lists(queue)).collect();
        let found = self.call(1, |out| command::command(out, &words)).await?;
        Ok(!matches!(found, Value::Int(0)))
    }

    async fn is_bound(&self, exchange: &str) -> Result<bool> {
        let key = self.keys.binding(exchange);
        let found = self.call(1, |out| command::command(out, &["EXISTS", &key])).await?;
        Ok(!matches!(found, Value::Int(0)))
    }

    /// Sends `count` commands as one transaction and returns their answers.
    pub(crate) async fn transaction(&self, count: usize, write: impl FnOnce(&mut Vec<u8>)) -> Result<Vec<Value>> {
        let replies = u32::try_from(count + 2).unwrap_or(u32::MAX);
        let answer = self.call(replies, |out| {
            command::command(out, &["MULTI"]);
            write(out);
            command::command(out, &["EXEC"]);
        });
        match answer.await? {
            Value::Array(answers) => {
                answers.iter().try_for_each(succeed)?;
                Ok(answers)
            }
            other => Err(unexpected("EXEC", &other)),
        }
    }
}

/// Returns how a queue notes that it is stored for an exchange.
///
/// # Errors
///
/// `Encode`, never for text.
pub(crate) fn stored_entry(exchange: &str, member: &str) -> Result<String> {
    json::to_string(&(exchange, "", member))
}

fn succeed(answer: &Value) -> Result<()> {
    match answer {
        Value::ServerError(error) => Err(refusal(error)),
        Value::Array(answers) => answers.iter().try_for_each(succeed),
        _ => Ok(()),
    }
}

fn sum<'a>(answers: impl Iterator<Item = &'a Value>) -> u32 {
    let count = |answer: &Value| match answer {
        Value::Int(count) => u32::try_from(*count).unwrap_or(u32::MAX),
        _ => 0,
    };
    answers.map(count).fold(0, u32::saturating_add)
}
