//! Elements that Kombu's `BRPOP` popped: each is in the socket alone until it is recorded, by script.

use std::sync::Arc;

use bytes::Bytes;
use kombu_core::Error;
use kombu_core::hub::Hub;
use redis::Value;

use crate::connection::refusal;
use crate::consumer::Consumer;
use crate::deliver::Raw;
use crate::malformed;
use crate::push_back::PushBack;
use crate::request::Request;
use crate::scripts::{Record, Recorded};
use crate::session::Session;
use crate::settle::{Owners, Returning};
use crate::take::{LEASE_LOST, TakenList};

/// An element that a waiter popped, while it is being recorded.
pub(crate) struct Popped {
    name: Arc<str>,
    number: u64,
    list: TakenList,
    text: Bytes,
    /// Who gets it; none when it goes back.
    consumer: Option<Arc<Consumer>>,
}

impl Popped {
    pub(crate) fn to_bytes(&self, session: &Session) -> Vec<u8> {
        let record = Record {
            keys: &session.keys,
            consumer: &self.name,
            number: self.number,
            queue: &self.list.queue,
            queue_json: &self.list.queue_json,
            max_message_size: session.options.max_message_size,
            text: &self.text,
            notes_birth: session.has_registry(),
        };
        record.command().get_packed_command()
    }
}

impl Session {
    /// An element that is nowhere on the server: recorded, then delivered, or given back in its place when nobody wants it.
    pub(crate) fn handle_element(self: &Arc<Self>, list: TakenList, text: Bytes, consumer: Option<Arc<Consumer>>) {
        match consumer {
            Some(consumer) if consumer.no_ack => {
                let list = TakenList { no_ack: true, ..list };
                self.deliver(vec![(consumer, Raw { text, number: None, list })]);
            }
            consumer => self.record(list, text, consumer),
        }
    }

    fn record(self: &Arc<Self>, list: TakenList, text: Bytes, consumer: Option<Arc<Consumer>>) {
        let name = self.ensure_registered();
        let number = self.lock(&self.ledger).take(1, self.handle.now());
        let popped = Popped { name, number, list, text, consumer };
        let bytes = popped.to_bytes(self);
        self.submit(Request::Record(Box::new(popped)), &bytes);
    }

    /// Delivers a message that is recorded now.
    pub(crate) fn handle_recorded(self: &Arc<Self>, hub: &dyn Hub, popped: Popped, value: Value) {
        let recorded = match value {
            Value::ServerError(error) if error.code() == LEASE_LOST => {
                self.lose_lease(&popped.name);
                self.close_fields([popped.number]);
                return self.record(popped.list, popped.text, popped.consumer);
            }
            Value::ServerError(error) => Err(refusal(&error)),
            value => Record::read(value),
        };
        let Popped { number, list, text, consumer, .. } = popped;
        match recorded {
            Ok(Recorded::Unacked) => match consumer {
                Some(consumer) => self.deliver(vec![(consumer, Raw { text, number: Some(number), list })]),
                None => {
                    let items = vec![(number, list.key)];
                    Returning { items, delivered: false, answers: None, owners: Owners::default(), is_repeated: false }
                        .submit(self);
                }
            },
            Ok(Recorded::SetAside(entry)) => {
                self.close_fields([number]);
                let channel = consumer.as_ref().and_then(|consumer| consumer.channel.upgrade());
                if let Some(consumer) = consumer {
                    consumer.return_credit();
                }
                self.report_set_aside(channel.as_ref(), vec![malformed::read(&list.queue, &entry)]);
            }
            Err(error) => {
                self.close_fields([number]);
                if let Some(consumer) = consumer {
                    consumer.return_credit();
                }
                if self.warnings.allows("record", self.handle.now()) {
                    tracing::warn!(broker = %self.target.label, %error, "a message cannot be recorded; it goes back");
                }
                // Where nothing can be recorded, this is all that is left.
                PushBack::submit(self, list.key, text);
                // The waiter would pop it again at once.
                self.pause_taking(hub);
            }
        }
        self.touch();
    }

    /// A message that was popped could not be recorded before the end.
    pub(crate) fn handle_unrecorded(&self, popped: &Popped, error: &Error) {
        let queue = &popped.list.queue;
        tracing::error!(broker = %self.target.label, %queue, %error, "a popped message could not be recorded; it is lost");
    }
}
