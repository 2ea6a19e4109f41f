//! Keeps what was declared where every client of ours finds it.
//!
//! With the option `topology=registry` everything that is declared is kept. By default only what Kombu's keys cannot hold: plain
//! queues and exchanges leave no key of ours. A Python client knows nothing of these keys; what it publishes goes by Kombu's alone.

use std::sync::Arc;

use kombu_core::{Error, ErrorKind, Result, Scope};
use kombu_virtual::{ExchangeDefinition, QueueDefinition};

use crate::connection::command;
use crate::definition::{self, Definition};
use crate::options::KeptIn;
use crate::policies::policy_of;
use crate::scripts::Define;
use crate::session::Session;

impl Session {
    /// Keeps what a queue was declared with, if it is to be kept.
    ///
    /// # Errors
    ///
    /// `PreconditionFailed` when it was declared with something else.
    pub(crate) async fn define_queue(
        &self,
        queue: &str,
        definition: &QueueDefinition,
        policy: Option<&[u8]>,
    ) -> Result<()> {
        match self.keeps_queue(definition) {
            true => self.define(self.keys.queue_definition(queue), queue, definition, policy).await,
            false => Ok(()),
        }
    }

    /// Keeps what an exchange was declared with, if it is to be kept.
    ///
    /// # Errors
    ///
    /// `PreconditionFailed` when it was declared with something else.
    pub(crate) async fn define_exchange(&self, exchange: &str, definition: &ExchangeDefinition) -> Result<()> {
        match self.keeps_exchange(exchange, definition) {
            true => self.define(self.keys.exchange_definition(exchange), exchange, definition, None).await,
            false => Ok(()),
        }
    }

    /// Keeps what this process declared an exchange with that others lead to: whoever publishes to those has to know its kind.
    ///
    /// # Errors
    ///
    /// As for [`define_exchange`](Session::define_exchange).
    pub(crate) async fn define_linked(&self, exchange: &str) -> Result<()> {
        match self.topology.exchange_definition(exchange) {
            Some(known) => self.define(self.keys.exchange_definition(exchange), exchange, &known, None).await,
            None => Ok(()),
        }
    }

    fn keeps_queue(&self, definition: &QueueDefinition) -> bool {
        definition.is_ours() || self.has_registry()
    }

    fn keeps_exchange(&self, exchange: &str, definition: &ExchangeDefinition) -> bool {
        definition.is_ours() || self.has_registry() || self.topology.is_linked(exchange)
    }

    /// The server has lost what was kept: what this process declared is kept again, unless somebody has declared it anew.
    pub(crate) fn assert_definitions(self: &Arc<Self>) {
        for (exchange, definition) in self.topology.exchange_definitions() {
            if self.keeps_exchange(&exchange, &definition) {
                self.define_again(&self.keys.exchange_definition(&exchange), &definition, None);
            }
        }
        for (queue, definition) in self.topology.queue_definitions() {
            if self.has_registry() {
                self.register_again(&queue, &definition);
            } else if self.keeps_queue(&definition) {
                let policy = policy_of(&queue, &definition).ok().flatten();
                let policy = policy.as_ref().map(|(_, text)| (queue.as_str(), text.as_slice()));
                self.define_again(&self.keys.queue_definition(&queue), &definition, policy);
            }
        }
    }

    /// Keeps a definition that the server has lost, unless somebody has declared it anew.
    pub(crate) fn define_again<D: Definition>(&self, key: &str, definition: &D, policy: Option<(&str, &[u8])>) {
        // What could be written once can be written again.
        let Ok(fields) = definition.to_fields() else { return };
        let define = Define { key, policies: &self.keys.policies(), policy, fields: &fields };
        self.run_quietly("declaring again", &define.command());
    }

    /// Returns what is kept of a queue.
    ///
    /// # Errors
    ///
    /// `Decode` for what nobody here wrote, and those of the connection.
    pub(crate) async fn queue_definition(&self, queue: &str) -> Result<Option<QueueDefinition>> {
        self.definition(&self.keys.queue_definition(queue), queue).await
    }

    /// Returns what is kept of an exchange.
    ///
    /// # Errors
    ///
    /// `Decode` for what nobody here wrote, and those of the connection.
    pub(crate) async fn exchange_definition(&self, exchange: &str) -> Result<Option<ExchangeDefinition>> {
        self.definition(&self.keys.exchange_definition(exchange), exchange).await
    }

    /// Says whether everything that is declared is kept.
    pub(crate) fn has_registry(&self) -> bool {
        self.options.topology == KeptIn::Registry
    }

    async fn define<D: Definition>(&self, key: String, name: &str, wanted: &D, policy: Option<&[u8]>) -> Result<()> {
        let fields = wanted.to_fields().map_err(|error| error.with(D::WHAT, name))?;
        let (policies, policy) = (self.keys.policies(), policy.map(|policy| (name, policy)));
        let define = Define { key: &key, policies: &policies, policy, fields: &fields }.command();
        let answer = self.call_script(1, |out| define.write_packed_command(out)).await?;
        self.note_told();
        let known = definition::read::<D>(&answer).map_err(|error| error.with(D::WHAT, name))?;
        match known.as_ref().and_then(|known| known.difference(wanted)) {
            None => Ok(()),
            Some(property) => Err(differs(D::WHAT, name, property)),
        }
    }

    async fn definition<D: Definition>(&self, key: &str, name: &str) -> Result<Option<D>> {
        let answer = self.call(1, |out| {
            command::head(out, 2 + D::FIELDS.len());
            command::word(out, "HMGET");
            command::word(out, key);
            D::FIELDS.iter().for_each(|field| command::word(out, field));
        });
        definition::read(&answer.await?).map_err(|error| error.with(D::WHAT, name))
    }
}

/// AMQP 406 for a declaration that says something else than the one before.
#[cold]
pub(crate) fn differs(what: &'static str, name: &str, property: &'static str) -> Error {
    Error::new(ErrorKind::PreconditionFailed, format!("the {what} exists with another `{property}`"))
        .in_scope(Scope::Channel)
        .with(what, name)
        .with("argument", property)
}
