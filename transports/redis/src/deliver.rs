//! From the bytes of a message to the consumer that gets it, or to where it goes instead.

use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;
use kombu_core::{Malformed, Result, ShortStr};

use crate::channel_core::ChannelCore;
use crate::connection::command;
use crate::consumer::Consumer;
use crate::envelope::{self, Limits, Received};
use crate::malformed;
use crate::session::Session;
use crate::settle::{Aside, Owners, Returning};
use crate::take::TakenList;
use crate::unacked::Place;

/// A message that was taken and read, on its way to a channel.
pub(crate) struct Arrived {
    pub(crate) received: Received,
    pub(crate) place: Place,
    pub(crate) queue: ShortStr,
    pub(crate) list: Arc<str>,
    /// Its text, where it is nowhere else.
    pub(crate) text: Option<Bytes>,
}

impl Arrived {
    /// Says whether nobody gets it but who waited for it when it was published.
    pub(crate) fn is_only_for_waiting(&self) -> bool {
        self.received.expires_at == Some(0)
    }
}

/// A message that was taken, before it is read.
pub(crate) struct Raw {
    pub(crate) text: Bytes,
    /// The number of its field; none when it is not recorded.
    pub(crate) number: Option<u64>,
    pub(crate) list: TakenList,
}

impl Session {
    /// Reads messages and hands them to their consumers, with no lock held.
    pub(crate) fn deliver(self: &Arc<Self>, chosen: Vec<(Arc<Consumer>, Raw)>) {
        let mut arrived: Vec<(Arc<Consumer>, Vec<Arrived>)> = Vec::new();
        let mut places: HashMap<*const Consumer, usize> = HashMap::new();
        for (consumer, raw) in chosen {
            let number = raw.number;
            match self.read(raw) {
                Ok(one) if self.is_expired(&one) => {
                    consumer.return_credit();
                    self.expire(one);
                }
                Ok(one) => {
                    let place = match arrived.first() {
                        Some((first, _)) if Arc::ptr_eq(first, &consumer) => 0,
                        _ => *places.entry(Arc::as_ptr(&consumer)).or_insert(arrived.len()),
                    };
                    match arrived.get_mut(place) {
                        Some((_, all)) => all.push(one),
                        None => arrived.push((consumer, vec![one])),
                    }
                }
                Err((malformed, queue)) => {
                    consumer.return_credit();
                    if let Some(channel) = consumer.channel.upgrade() {
                        self.set_malformed_aside(&channel, malformed, number, queue);
                    }
                }
            }
        }
        for (consumer, all) in arrived {
            self.hand_over(&consumer, all);
        }
    }

    /// Hands messages that were read to their consumer.
    pub(crate) fn hand_over(self: &Arc<Self>, consumer: &Arc<Consumer>, arrived: Vec<Arrived>) {
        let count = arrived.len();
        let mut deliveries = Vec::with_capacity(count);
        let refused = match consumer.channel.upgrade() {
            Some(channel) => channel.admit(Some(consumer), consumer.no_ack, arrived, &mut deliveries).err(),
            None => Some(arrived),
        };
        match refused {
            None => consumer.sink.deliver_all(&mut deliveries),
            Some(arrived) => {
                for _ in 0..count {
                    consumer.return_credit();
                }
                self.give_back_arrived(arrived);
            }
        }
    }

    /// Reads a message, or says what is wrong with it.
    pub(crate) fn read(&self, raw: Raw) -> Result<Arrived, (Malformed, ShortStr)> {
        let Raw { text, number, list } = raw;
        let limits = Limits { no_ack: list.no_ack, ..self.limits };
        match envelope::read(&text, &limits) {
            Ok(received) => {
                let place = number.map_or(Place::Nowhere, Place::Recorded);
                let text = (number.is_none() && received.expires_at.is_some()).then_some(text);
                Ok(Arrived { received, place, queue: list.queue, list: list.key, text })
            }
            Err(error) => {
                let malformed = Malformed {
                    queue: list.queue.clone(),
                    raw: text,
                    reason: error.to_string(),
                    at: std::time::SystemTime::now(),
                };
                Err((malformed, list.queue))
            }
        }
    }

    /// Moves what is no message away, and reports it.
    pub(crate) fn set_malformed_aside(
        &self,
        channel: &Arc<ChannelCore>,
        malformed: Malformed,
        number: Option<u64>,
        queue: ShortStr,
    ) {
        match number {
            Some(number) => {
                let reason = malformed.reason.clone();
                Aside { number, queue, reason, answers: None, channel: Some(Arc::clone(channel)), is_repeated: false }
                    .submit(self);
            }
            None => {
                self.keep_malformed(&malformed);
            }
        }
        channel.report_malformed(malformed);
    }

    /// Adds what is recorded nowhere to the malformed list.
    pub(crate) fn keep_malformed(&self, malformed: &Malformed) {
        let key = self.keys.malformed(&malformed.queue);
        let raw = &malformed.raw;
        // Text can always be written as JSON.
        let entry = malformed::entry(raw, &malformed.reason, malformed.at).unwrap_or_else(|_| raw.to_vec());
        self.send_quietly("setting aside", 1, |out| command::command(out, &[b"RPUSH", key.as_bytes(), &entry]));
    }

    /// Reports what a script has set aside.
    pub(crate) fn report_set_aside(&self, channel: Option<&Arc<ChannelCore>>, asides: Vec<Malformed>) {
        for aside in asides {
            let channel = match channel {
                Some(channel) => Some(Arc::clone(channel)),
                None => {
                    let consumer = self.poller().any_consumer(&aside.queue);
                    consumer.and_then(|consumer| consumer.channel.upgrade())
                }
            };
            match channel {
                Some(channel) => channel.report_malformed(aside),
                None => tracing::warn!(queue = %aside.queue, reason = %aside.reason, "set aside what is no message"),
            }
        }
    }

    /// Gives back messages that nobody wants.
    pub(crate) fn give_back_raw(self: &Arc<Self>, raws: Vec<Raw>) {
        let mut items = Vec::new();
        let mut unrecorded = Vec::new();
        for Raw { text, number, list } in raws {
            match number {
                Some(number) => items.push((number, list.key)),
                None => unrecorded.push((list, text)),
            }
        }
        // Each goes back in front of what went back before it: the one to be served last first.
        for (list, text) in unrecorded.into_iter().rev() {
            self.handle_element(list, text, None);
        }
        if !items.is_empty() {
            Returning { items, delivered: false, answers: None, owners: Owners::default(), is_repeated: false }
                .submit(self);
        }
    }

    /// Gives back messages that were read but not delivered.
    pub(crate) fn give_back_arrived(&self, arrived: Vec<Arrived>) {
        let items: Vec<_> = arrived
            .into_iter()
            .filter_map(|one| match one.place {
                Place::Recorded(number) => Some((number, one.list)),
                Place::Local(_) | Place::Nowhere => None,
            })
            .collect();
        if !items.is_empty() {
            Returning { items, delivered: false, answers: None, owners: Owners::default(), is_repeated: false }
                .submit(self);
        }
    }
}
