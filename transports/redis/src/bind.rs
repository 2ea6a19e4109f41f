//! Bindings that Kombu's tables cannot hold: to headers exchanges, and from exchange to exchange.

use kombu_core::method::{ExchangeBind, QueueBind};
use kombu_core::{Error, ErrorKind, ExchangeKind, Result, Scope};

use crate::binding::field;
use crate::definition::Definition;
use crate::scripts::{Bind, Led, Unbind};
use crate::session::Session;
use crate::topology::OurBinding;

impl Session {
    /// Routes from one exchange to another.
    pub(crate) async fn exchange_bind(&self, method: ExchangeBind) -> Result<()> {
        check_not_default(&method.source)?;
        check_not_default(&method.destination)?;
        self.kind_of(&method.source).await?;
        self.kind_of(&method.destination).await?;
        let field = field(true, &method.destination, &method.routing_key, &method.arguments)
            .map_err(|error| error.with("exchange", &method.source))?;
        self.define_linked(&method.source).await?;
        self.define_linked(&method.destination).await?;
        self.bind_ours(OurBinding { source: method.source, field, to_exchange: true, destination: method.destination })
            .await
    }

    /// Ends a route from one exchange to another.
    pub(crate) async fn exchange_unbind(&self, method: ExchangeBind) -> Result<()> {
        check_not_default(&method.source)?;
        check_not_default(&method.destination)?;
        let field = field(true, &method.destination, &method.routing_key, &method.arguments)
            .map_err(|error| error.with("exchange", &method.source))?;
        self.unbind_ours(OurBinding {
            source: method.source,
            field,
            to_exchange: true,
            destination: method.destination,
        })
        .await
    }

    /// Routes from a headers exchange to a queue.
    pub(crate) async fn bind_by_headers(&self, method: QueueBind) -> Result<()> {
        self.bind_ours(by_headers(method)?).await
    }

    /// Ends a route from a headers exchange to a queue.
    pub(crate) async fn unbind_by_headers(&self, method: QueueBind) -> Result<()> {
        self.unbind_ours(by_headers(method)?).await
    }

    async fn bind_ours(&self, binding: OurBinding) -> Result<()> {
        let command = self.bind_command(&binding)?;
        self.call_script(1, |out| command.write_packed_command(out)).await?;
        self.topology.note_change(&binding.source);
        self.topology.bind_ours(binding);
        self.note_told();
        Ok(())
    }

    async fn unbind_ours(&self, binding: OurBinding) -> Result<()> {
        self.topology.unbind_ours(&binding);
        let texts = [binding.field.clone()];
        let unbind =
            Unbind { keys: &self.keys, exchange: &binding.source, to: binding.led(), texts: &texts }.command()?;
        self.call_script(1, |out| unbind.write_packed_command(out)).await?;
        self.topology.note_change(&binding.source);
        Ok(())
    }

    fn bind_command(&self, binding: &OurBinding) -> Result<redis::Cmd> {
        let OurBinding { source, field, .. } = binding;
        Bind { keys: &self.keys, exchange: source, to: binding.led(), text: field, is_checked: false }.command()
    }

    /// The server has lost what this process declared of an exchange, or bound to it: it is made again, and returned as the server
    /// would.
    pub(crate) fn assert_record(&self, exchange: &str) -> Vec<(String, String)> {
        let mut fields = Vec::new();
        if let Some(definition) = self.topology.exchange_definition(exchange)
            && (definition.is_ours() || self.has_registry() || self.topology.is_linked(exchange))
        {
            self.define_again(&self.keys.exchange_definition(exchange), &definition, None);
            let known = definition.to_fields().unwrap_or_default();
            fields.extend(known.into_iter().map(|(name, value)| (name.to_owned(), value)));
        }
        for binding in self.topology.ours_of(exchange) {
            if let Ok(command) = self.bind_command(&binding) {
                self.send_quietly("binding again", 1, |out| command.write_packed_command(out));
            }
            fields.push((binding.field, String::new()));
        }
        fields
    }
}

impl OurBinding {
    fn led(&self) -> Led<'_> {
        if self.to_exchange { Led::Exchange(&self.destination) } else { Led::Queue(&self.destination) }
    }
}

fn by_headers(method: QueueBind) -> Result<OurBinding> {
    let QueueBind { queue, exchange, routing_key, arguments } = method;
    let field = field(false, &queue, &routing_key, &arguments).map_err(|error| error.with("exchange", &exchange))?;
    Ok(OurBinding { source: exchange, field, to_exchange: false, destination: queue })
}

/// AMQP 403 for the default exchange.
pub(crate) fn check_not_default(exchange: &str) -> Result<()> {
    if exchange.is_empty() {
        let message = "the default exchange cannot be declared, bound or deleted";
        return Err(Error::new(ErrorKind::AccessRefused, message).in_scope(Scope::Channel));
    }
    Ok(())
}

/// Says whether queues are bound to exchanges of this kind by their arguments.
pub(crate) fn is_by_headers(kind: &ExchangeKind) -> bool {
    *kind == ExchangeKind::Headers
}
