//! Declares, binds and deletes exchanges.

use kombu_core::method::{ExchangeBind, ExchangeDeclare, ExchangeDelete};
use kombu_core::{Error, Result, ShortStr};

use super::State;
use crate::afterwards::Afterwards;
use crate::definition::{BindingDefinition, ExchangeDefinition};
use crate::exchange::{Destination, Exchange, ExchangeKey};
use crate::refusal;
use crate::store::QueueStore;

impl<S: QueueStore> State<S> {
    pub(crate) fn exchange_declare(&mut self, method: ExchangeDeclare) -> Result<()> {
        let name = method.exchange.clone().checked("exchange")?;
        check_not_default(&name)?;
        let known = self.exchange_names.get(&name).and_then(|key| self.exchanges.get(*key));
        if method.passive {
            return known.map(|_| ()).ok_or_else(|| refusal::not_found("exchange", &name));
        }
        let definition = ExchangeDefinition::from(method);
        if let Some(known) = known {
            return match known.definition.difference(&definition) {
                Some(property) => Err(refusal::differs("exchange", &name, property)),
                None => Ok(()),
            };
        }
        check_not_reserved("exchange", &name)?;
        let exchange = Exchange::new(name.clone(), definition)?;
        let stored = self.store.bindings(&name)?;
        let is_delayed = exchange.is_delayed;
        let key = self.exchanges.insert(exchange);
        if is_delayed && let Err(error) = self.open_delayed(key, &name) {
            self.exchanges.remove(key);
            return Err(error);
        }
        self.exchange_names.insert(name, key);
        self.routes.clear();
        for binding in stored {
            let destination = if binding.to_exchange {
                self.exchange_names.get(&binding.destination).copied().map(Destination::Exchange)
            } else {
                self.find_queue(&binding.destination)?.map(Destination::Queue)
            };
            if let Some(destination) = destination {
                self.add_binding(key, destination, binding);
            }
        }
        Ok(())
    }

    pub(crate) fn exchange_delete(&mut self, method: &ExchangeDelete, after: &mut Afterwards) -> Result<()> {
        check_not_default(&method.exchange)?;
        if method.exchange.starts_with("amq.") {
            return Err(refusal::refused("exchange", &method.exchange, "exchanges of the broker cannot be deleted"));
        }
        let Some(key) = self.exchange_names.get(&method.exchange).copied() else { return Ok(()) };
        let in_use = self.exchanges.get(key).is_some_and(|exchange| !exchange.is_unused());
        if method.if_unused && in_use {
            return Err(refusal::precondition("exchange", &method.exchange, "the exchange has bindings"));
        }
        self.remove_exchange(key, after)
    }

    pub(crate) fn exchange_bind(&mut self, method: ExchangeBind) -> Result<()> {
        check_not_default(&method.source)?;
        check_not_default(&method.destination)?;
        let source = self.find_exchange(&method.source)?;
        let destination = self.find_exchange(&method.destination)?;
        self.bind(source, Destination::Exchange(destination), BindingDefinition::from(method))
    }

    pub(crate) fn exchange_unbind(&mut self, method: ExchangeBind, after: &mut Afterwards) -> Result<()> {
        check_not_default(&method.source)?;
        check_not_default(&method.destination)?;
        let Some(destination) = self.exchange_names.get(&method.destination).copied() else { return Ok(()) };
        self.unbind(Destination::Exchange(destination), BindingDefinition::from(method), after)
    }

    /// Makes a binding, unless it is there already.
    pub(super) fn bind(
        &mut self,
        key: ExchangeKey,
        destination: Destination,
        binding: BindingDefinition,
    ) -> Result<()> {
        binding.routing_key.clone().checked("routing key")?;
        let Some(exchange) = self.exchanges.get(key) else { return Ok(()) };
        if exchange.has(destination, &binding.routing_key, &binding.arguments) {
            return Ok(());
        }
        exchange.check(&binding.arguments).map_err(|error| error.with("exchange", &exchange.name))?;
        self.store.bind(&binding)?;
        self.add_binding(key, destination, binding);
        Ok(())
    }

    fn add_binding(&mut self, key: ExchangeKey, destination: Destination, binding: BindingDefinition) {
        let BindingDefinition { routing_key, arguments, .. } = binding;
        let Some(exchange) = self.exchanges.get_mut(key) else { return };
        exchange.bind(destination, routing_key.clone(), arguments);
        if let Some(bound) = self.bound(destination) {
            bound.insert((key, routing_key));
        }
        self.routes.clear();
    }

    /// Takes a binding away; one that does not exist is no error.
    pub(super) fn unbind(
        &mut self,
        destination: Destination,
        binding: BindingDefinition,
        after: &mut Afterwards,
    ) -> Result<()> {
        let Some(key) = self.exchange_names.get(&binding.exchange).copied() else { return Ok(()) };
        let Some(exchange) = self.exchanges.get_mut(key) else { return Ok(()) };
        if !exchange.has(destination, &binding.routing_key, &binding.arguments) {
            return Ok(());
        }
        let other_remains = exchange.unbind(destination, &binding.routing_key, &binding.arguments);
        if !other_remains && let Some(bound) = self.bound(destination) {
            bound.remove(&(key, binding.routing_key.clone()));
        }
        self.routes.clear();
        let told = self.store.unbind(&binding);
        told.and(self.remove_exchange_if_done(key, after))
    }

    /// Takes away all bindings with a key of an exchange to something that is removed.
    pub(super) fn forget_bindings(
        &mut self,
        key: ExchangeKey,
        (destination, name, routing_key): (Destination, &ShortStr, &ShortStr),
        after: &mut Afterwards,
    ) -> Result<()> {
        let mut told = Ok(());
        let Some(exchange) = self.exchanges.get_mut(key) else { return told };
        for arguments in exchange.forget(destination, routing_key) {
            let binding = BindingDefinition {
                arguments,
                to_exchange: matches!(destination, Destination::Exchange(_)),
                ..BindingDefinition::new(exchange.name.clone(), name.clone(), routing_key.clone())
            };
            told = told.and(self.store.unbind(&binding));
        }
        told.and(self.remove_exchange_if_done(key, after))
    }

    /// Removes an auto-delete exchange whose last binding is gone.
    fn remove_exchange_if_done(&mut self, key: ExchangeKey, after: &mut Afterwards) -> Result<()> {
        if self.exchanges.get(key).is_some_and(|exchange| exchange.definition.auto_delete && exchange.is_unused()) {
            return self.remove_exchange(key, after);
        }
        Ok(())
    }

    fn remove_exchange(&mut self, key: ExchangeKey, after: &mut Afterwards) -> Result<()> {
        let Some(mut exchange) = self.exchanges.remove(key) else { return Ok(()) };
        self.exchange_names.remove(&exchange.name);
        self.routes.clear();
        let bindings: Vec<_> = exchange.bindings().map(|(to, routing_key)| (to, routing_key.clone())).collect();
        let mut told = Ok(());
        for (destination, routing_key) in bindings {
            let Some(name) = self.name_of(destination) else { continue };
            for arguments in exchange.forget(destination, &routing_key) {
                let binding = BindingDefinition {
                    arguments,
                    to_exchange: matches!(destination, Destination::Exchange(_)),
                    ..BindingDefinition::new(exchange.name.clone(), name.clone(), routing_key.clone())
                };
                told = told.and(self.store.unbind(&binding));
            }
            if let Some(bound) = self.bound(destination) {
                bound.remove(&(key, routing_key));
            }
        }
        for (source, routing_key) in std::mem::take(&mut exchange.bound) {
            let binding = (Destination::Exchange(key), &exchange.name, &routing_key);
            told = told.and(self.forget_bindings(source, binding, after));
        }
        if exchange.is_delayed {
            self.remove_delayed(key, &exchange.name, after);
        }
        after.discard(exchange);
        told
    }

    fn name_of(&self, destination: Destination) -> Option<ShortStr> {
        match destination {
            Destination::Queue(queue) => self.queues.get(queue).map(|queue| queue.name.clone()),
            Destination::Exchange(exchange) => self.exchanges.get(exchange).map(|exchange| exchange.name.clone()),
        }
    }

    /// Returns where a destination notes what leads to it.
    fn bound(&mut self, destination: Destination) -> Option<&mut crate::map::Set<(ExchangeKey, ShortStr)>> {
        match destination {
            Destination::Queue(queue) => self.queues.get_mut(queue).map(|queue| &mut queue.bound),
            Destination::Exchange(exchange) => self.exchanges.get_mut(exchange).map(|exchange| &mut exchange.bound),
        }
    }

    pub(super) fn find_exchange(&self, name: &ShortStr) -> Result<ExchangeKey> {
        self.exchange_names.get(name).copied().ok_or_else(|| refusal::not_found("exchange", name))
    }
}

pub(super) fn check_not_default(exchange: &str) -> Result<(), Error> {
    if exchange.is_empty() {
        return Err(refusal::refused(
            "exchange",
            exchange,
            "the default exchange cannot be declared, bound or deleted",
        ));
    }
    Ok(())
}

pub(super) fn check_not_reserved(what: &'static str, name: &str) -> Result<(), Error> {
    if name.starts_with("amq.") {
        return Err(refusal::refused(what, name, "names that start with `amq.` are the broker's"));
    }
    Ok(())
}
