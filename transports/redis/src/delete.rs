//! Deleting queues and exchanges.

use std::sync::Arc;

use kombu_core::method::{ExchangeDelete, QueueDelete};
use kombu_core::{Error, ErrorKind, Result, Scope};
use redis::Value;

use crate::connection::command;
use crate::scripts::{DeleteQueue, Deleted};
use crate::session::Session;

impl Session {
    /// Forgets an exchange and removes its bindings.
    pub(crate) async fn exchange_delete(&self, method: ExchangeDelete) -> Result<()> {
        let table = self.keys.binding(&method.exchange);
        if method.if_unused {
            let count = self.call(1, |out| command::command(out, &["SCARD", &table])).await?;
            if !matches!(count, Value::Int(0)) {
                return Err(kept("the exchange has bindings").with("exchange", &method.exchange));
            }
        }
        self.topology.forget_exchange(&method.exchange);
        let (permanent, deadlines) = (self.keys.binding_permanent(&method.exchange), self.keys.binding_deadlines());
        let stored = self.keys.stored(&method.exchange);
        let definition = self.keys.exchange_definition(&method.exchange);
        let answers = self.transaction(2, |out| {
            command::command(out, &["DEL", &table, &permanent, &stored, &definition]);
            command::command(out, &["ZREM", &deadlines, &method.exchange]);
        });
        let deleted = answers.await.map(drop);
        self.topology.note_change(&method.exchange);
        deleted
    }

    /// Removes a queue with its messages and those of its bindings that this process knows. Its consumers are told, wherever they are.
    pub(crate) async fn queue_delete(self: &Arc<Self>, method: QueueDelete) -> Result<u32> {
        let queue = &method.queue;
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
        self.drop_policy(queue).await?;
        let rest = QueueDelete { if_unused: false, if_empty: false, ..method };
        Ok(count + self.remove_queue(&rest).await?)
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
