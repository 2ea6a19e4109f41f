//! A consumer whose messages wait in a queue of the test's own.

use std::sync::mpsc::{self, Receiver};
use std::time::Duration;

use kombu::{Connection, Consumer, Message, Queue};

use super::PATIENCE;

/// A running consumer; messages are held until the test settles them.
pub struct Incoming {
    pub consumer: Consumer,
    messages: Receiver<Message>,
}

impl Incoming {
    #[track_caller]
    pub fn start(connection: &Connection, queue: &Queue) -> Self {
        Self::with_prefetch(connection, queue, 256)
    }

    #[track_caller]
    pub fn with_prefetch(connection: &Connection, queue: &Queue, prefetch: u16) -> Self {
        let (hand_over, messages) = mpsc::channel();
        // When the test no longer listens, the message is dropped, and so goes back.
        let on_message = move |message| drop(hand_over.send(message));
        let consumer = connection.consumer(queue).prefetch(prefetch).on_message(on_message).consume().wait().unwrap();
        Incoming { consumer, messages }
    }

    /// Returns the next message; the test fails when none comes.
    #[track_caller]
    pub fn next(&self) -> Message {
        self.messages.recv_timeout(PATIENCE).expect("a message should have come")
    }

    /// Returns the next `count` messages.
    #[track_caller]
    pub fn take(&self, count: usize) -> Vec<Message> {
        (0..count).map(|_| self.next()).collect()
    }

    /// Returns the next message if one is there within `patience`.
    pub fn try_next(&self, patience: Duration) -> Option<Message> {
        self.messages.recv_timeout(patience).ok()
    }

    /// Acknowledges the next `count` messages, one after the other, and returns their texts.
    #[track_caller]
    pub fn texts(&self, count: usize) -> Vec<String> {
        let read = |_| {
            let message = self.next();
            let text = message.text().unwrap().to_owned();
            message.ack().wait().unwrap();
            text
        };
        (0..count).map(read).collect()
    }

    /// Ends the consumer; what it has not handed over goes back.
    #[track_caller]
    pub fn cancel(self) {
        self.consumer.cancel().wait().unwrap();
    }
}
