//! Deleting queues and exchanges.

use std::sync::Arc;

use kombu_core::method::{ExchangeDelete, QueueDelete};
use kombu_core::{Error, ErrorKind, Result, Scope};
use redis::Value;

use crate::bind::check_not_default;
use crate::connection::command;
use crate::scripts::{DeleteExchange, DeleteQueue, Deleted};
use crate::session::Session;

impl Session {
    /// Forgets an exchange and removes its bindings.
    pub(crate) async fn exchange_delete(&self, method: ExchangeDelete) -> Result<()> {
        check_not_default(&method.exchange)?;
        let ExchangeDelete { exchange, if_unused } = &method;
        let delete = DeleteExchange { keys: &self.keys, exchange, if_unused: *if_unused }.command();
        let answer = self.call_script(1, |out| delete.write_packed_command(out)).await?;
        if answer == Value::Int(-1) {
            return Err(kept("the exchange has bindings").with("exchange", exchange));
        }
        self.topology.forget_exchange(exchange);
        self.topology.note_change(exchange);
        Ok(())
    }

    /// Removes a queue with its messages and those of its bindings that this process knows. Its consumers are told, wherever they are.
    pub(crate) async fn queue_delete(self: &Arc<Self>, method: QueueDelete) -> Result<u32> {
        let queue = &method.queue;
        match self.check_queue(queue).await {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(0),
            checked => checked?,
        }
        let mut count = 0;
        if method.if_unused || method.if_empty {
            // Before anything is ended that may have to stay.
            count = self.remove_queue(&method).await?;
        }
        let facts = self.topology.forget_queue(queue);
        self.end_consumers_of(queue);
        // What was taken for its consumers goes back first, so that it goes with the queue.
        self.quiesce(|poller| !poller.is_taking_from(queue)).await;
        self.remove_bindings(queue, &facts.bindings).await?;
        self.forget_policy(queue);
        if !method.if_unused && !method.if_empty {
            return self.remove_queue(&method).await;
        }
        if !self.has_registry() {
            // What went back has made the queue anew, and so may others have done meanwhile: the conditions still hold.
            match self.remove_queue(&method).await {
                Err(error) if error.kind() != ErrorKind::PreconditionFailed => return Err(error),
                removed => count += removed.unwrap_or(0),
            }
        }
        Ok(count)
    }

    /// Removes a queue whose owner is dead, unless another has it by now.
    pub(crate) async fn remove_dead_queue(&self, queue: &str, owner: &str) -> Result<()> {
        let key = self.keys.queue_definition(queue);
        let found = self.call(1, |out| command::command(out, &["HGET", &key, "owner"])).await?;
        if found == Value::BulkString(owner.as_bytes().to_vec()) {
            let method = QueueDelete { queue: queue.into(), ..QueueDelete::default() };
            self.remove_queue(&method).await?;
        }
        Ok(())
    }

    async fn remove_queue(&self, method: &QueueDelete) -> Result<u32> {
        let QueueDelete { queue, if_unused, if_empty } = method;
        let id = uuid::Uuid::new_v4().simple().to_string();
        let delete =
            DeleteQueue { keys: &self.keys, queue, if_unused: *if_unused, if_empty: *if_empty, id: &id }.command();
        let answer = self.call_script(1, |out| delete.write_packed_command(out)).await?;
        match DeleteQueue::read(&answer)? {
            Deleted::Gone(count) => Ok(count),
            Deleted::Used => Err(kept("the queue has consumers").with("queue", queue)),
            Deleted::Filled => Err(kept("the queue has messages").with("queue", queue)),
        }
    }
}

/// AMQP 406 for what is not deleted because of a condition.
#[cold]
fn kept(message: &'static str) -> Error {
    Error::new(ErrorKind::PreconditionFailed, message).in_scope(Scope::Channel)
}
