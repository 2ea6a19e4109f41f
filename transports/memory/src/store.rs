//! Queues in memory.

use std::collections::VecDeque;

use kombu_core::{Capabilities, Result};
use kombu_virtual::{QueueDefinition, QueueMessage, QueueStore};

/// A [`QueueStore`] that keeps messages in memory: the reference for all others.
#[derive(Debug, Default)]
pub struct MemoryStore;

/// One queue of a [`MemoryStore`]: its messages by position.
#[derive(Debug, Default)]
pub struct MemoryQueue {
    messages: VecDeque<QueueMessage>,
    /// The position of the next message.
    next: u64,
}

/// An empty queue gives back the room of more messages than this.
const ROOM_TO_KEEP: usize = 16 * 1024;

impl QueueStore for MemoryStore {
    type Queue = MemoryQueue;
    const KEEPS_UNSETTLED: bool = false;

    fn create(&mut self, _name: &str, _definition: &QueueDefinition) -> Result<MemoryQueue> {
        Ok(MemoryQueue::default())
    }

    #[inline]
    fn push(&mut self, queue: &mut MemoryQueue, mut message: QueueMessage) -> Result<()> {
        message.position = queue.next;
        queue.next += 1;
        queue.messages.push_back(message);
        Ok(())
    }

    #[inline]
    fn pop(&mut self, queue: &mut MemoryQueue) -> Result<Option<QueueMessage>> {
        let message = queue.messages.pop_front();
        if queue.messages.capacity() > ROOM_TO_KEEP && queue.messages.is_empty() {
            queue.messages.shrink_to(ROOM_TO_KEEP);
        }
        Ok(message)
    }

    #[inline]
    fn pass(&mut self, queue: &mut MemoryQueue) -> Option<u64> {
        let position = queue.next;
        queue.messages.is_empty().then(|| {
            queue.next += 1;
            position
        })
    }

    fn put_back(&mut self, queue: &mut MemoryQueue, message: QueueMessage) -> Result<()> {
        let messages = &mut queue.messages;
        match messages.front() {
            Some(front) if front.position < message.position => {
                let place = messages.partition_point(|other| other.position < message.position);
                messages.insert(place, message);
            }
            _ => messages.push_front(message),
        }
        Ok(())
    }

    fn len(&mut self, queue: &mut MemoryQueue) -> Result<usize> {
        Ok(queue.messages.len())
    }

    fn purge(&mut self, queue: &mut MemoryQueue, removed: &mut Vec<QueueMessage>) -> Result<usize> {
        let count = queue.messages.len();
        removed.extend(queue.messages.drain(..));
        Ok(count)
    }

    fn capabilities(&self) -> Capabilities {
        kombu_virtual::native()
    }
}
