//! What a plugin author writes.

use kombu_core::{Capabilities, Result};

use crate::capabilities;
use crate::definition::{BindingDefinition, QueueDefinition};
use crate::message::QueueMessage;

/// A plain store of queues, from which [`VirtualTransport`](crate::VirtualTransport) makes a transport with AMQP's semantics:
/// exchanges, bindings, consumers, acknowledgements, prefetch and redelivery are not its concern.
///
/// A queue is a list of messages under a name. [`create`](QueueStore::create) opens it and returns what the store wants to keep at
/// hand for it; every other method gets that back, so that the hot ones ([`push`](QueueStore::push) and [`pop`](QueueStore::pop))
/// look nothing up. The layer is compiled for each store (`VirtualTransport<S>`): a store that lives in memory pays for no
/// generality.
///
/// # For implementers
///
/// *May it block, and how long.* Every method is called with the broker's one mutex held: all channels wait meanwhile. Touching
/// local files or an embedded database is what this is made for; waiting for a network is not: write
/// [`Transport`](kombu_core::Transport) and [`Channel`](kombu_core::Channel) for that.
///
/// *Threads.* Called from any thread, never by two at once, never from inside itself. It must not call back into the broker.
///
/// *What may be kept.* Everything handed in is owned, or borrowed for the call. A message given out by
/// [`pop`](QueueStore::pop) belongs to the layer until it comes back by [`put_back`](QueueStore::put_back) or is done with by
/// [`forget`](QueueStore::forget); a store that must lose nothing when the process is killed keeps it until then, and counts it as
/// ready again when it is opened anew. Do not drop messages inside the store: hand them out (see [`purge`](QueueStore::purge)), for
/// dropping one may run code of the application.
///
/// *What the layer adds of its own.* A queue with priorities is one queue of the store for each, with names that end in two control
/// characters and a number; a delayed exchange keeps what it holds back in the queue `amq.delayed.NAME`. So a store must take any
/// text as a name.
///
/// *Who retries.* Nobody: an error is given to whoever asked. An error of [`push`](QueueStore::push) means that the message is not
/// stored; one of [`pop`](QueueStore::pop), that it still is.
pub trait QueueStore: Send + Sized + 'static {
    /// What the store keeps at hand for one queue.
    type Queue: Send + 'static;

    /// Whether the store keeps what it handed out until it is told to [`forget`](QueueStore::forget) it, as one that loses nothing
    /// when the process is killed does; by default it may.
    ///
    /// With `false`, acknowledgements are carried out many at a time, without `forget` being called for each.
    const KEEPS_UNSETTLED: bool = true;

    /// Makes a queue, or opens the one of that name with the messages it holds.
    ///
    /// # Errors
    ///
    /// The store's own; the queue is then not declared.
    fn create(&mut self, name: &str, definition: &QueueDefinition) -> Result<Self::Queue>;

    /// Says whether a queue of that name is stored that this process did not create: left by an earlier run, or another
    /// process's. The layer then opens it with [`create`](QueueStore::create) instead of finding it missing.
    ///
    /// By default `false`: nothing outlives the process.
    ///
    /// # Errors
    ///
    /// The store's own.
    fn exists(&mut self, name: &str) -> Result<bool> {
        let _ = name;
        Ok(false)
    }

    /// Puts a message at the end of the queue.
    ///
    /// # Errors
    ///
    /// The store's own; the message is then not stored, and the publisher is told.
    fn push(&mut self, queue: &mut Self::Queue, message: QueueMessage) -> Result<()>;

    /// Takes the first message out of the queue; `None` when it is empty.
    ///
    /// # Errors
    ///
    /// The store's own; the message is then still stored.
    fn pop(&mut self, queue: &mut Self::Queue) -> Result<Option<QueueMessage>>;

    /// Lets a new message pass through an empty queue to a consumer that waits: returns the position it would have got by
    /// [`push`](QueueStore::push). `None`, the default, has the message pushed and popped.
    ///
    /// For stores that lose nothing by it: the message is never stored unless it is [put back](QueueStore::put_back).
    fn pass(&mut self, queue: &mut Self::Queue) -> Option<u64> {
        let _ = queue;
        None
    }

    /// Puts a message that was popped back to its [`position`](QueueMessage::position): before everything that was pushed after it.
    ///
    /// # Errors
    ///
    /// The store's own.
    fn put_back(&mut self, queue: &mut Self::Queue, message: QueueMessage) -> Result<()>;

    /// Is done with a message that was popped: it was acknowledged, dropped, or moved elsewhere. A store that keeps what it hands
    /// out until then removes it now. By default does nothing.
    ///
    /// A message that only [passed](QueueStore::pass) through comes here too.
    ///
    /// # Errors
    ///
    /// The store's own; whoever settled is told that the message may come again.
    fn forget(&mut self, queue: &mut Self::Queue, message: &QueueMessage) -> Result<()> {
        let _ = (queue, message);
        Ok(())
    }

    /// Returns how many messages the queue holds, without those that are popped.
    ///
    /// # Errors
    ///
    /// The store's own.
    fn len(&mut self, queue: &mut Self::Queue) -> Result<usize>;

    /// Empties the queue and returns how many messages it held. Those that are in memory are moved into `removed`, to be dropped
    /// when the broker's mutex is released.
    ///
    /// By default pops and forgets one after the other.
    ///
    /// # Errors
    ///
    /// The store's own.
    fn purge(&mut self, queue: &mut Self::Queue, removed: &mut Vec<QueueMessage>) -> Result<usize> {
        let before = removed.len();
        while let Some(message) = self.pop(queue)? {
            self.forget(queue, &message)?;
            removed.push(message);
        }
        Ok(removed.len() - before)
    }

    /// Forgets the queue and all its messages. The layer drops `queue` afterwards, with the broker's mutex released: messages held
    /// in it need not be moved out.
    ///
    /// By default does nothing: dropping `queue` is enough.
    ///
    /// # Errors
    ///
    /// The store's own; the queue is gone for the layer all the same.
    fn remove(&mut self, name: &str, queue: &mut Self::Queue) -> Result<()> {
        let _ = (name, queue);
        Ok(())
    }

    /// Notes a binding, for [`bindings`](QueueStore::bindings) of a later run. By default does nothing.
    ///
    /// # Errors
    ///
    /// The store's own; the binding is then not made.
    fn bind(&mut self, binding: &BindingDefinition) -> Result<()> {
        let _ = binding;
        Ok(())
    }

    /// Forgets a binding. By default does nothing.
    ///
    /// # Errors
    ///
    /// The store's own; the binding is gone for the layer all the same.
    fn unbind(&mut self, binding: &BindingDefinition) -> Result<()> {
        let _ = binding;
        Ok(())
    }

    /// Returns the bindings noted for an exchange, asked once when the exchange is declared for the first time. By default none.
    ///
    /// # Errors
    ///
    /// The store's own; the exchange is then not declared.
    fn bindings(&mut self, exchange: &str) -> Result<Vec<BindingDefinition>> {
        let _ = exchange;
        Ok(Vec::new())
    }

    /// Returns what a transport over this store can do. By default everything the layer [emulates](crate::emulated); a store
    /// whose [`put_back`](QueueStore::put_back) appends must say so here (`requeue_in_place`), one that outlives the process may
    /// add `durable`, `persistent` and `multi_process`.
    fn capabilities(&self) -> Capabilities {
        capabilities::emulated()
    }
}
