//! How a broken channel settles.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use kombu_core::{Channel, Delivery, DeliveryTag, Error, ErrorKind, Settled, ShortStr};

use crate::channel::BrokenChannel;
use crate::fault::Fault;
use crate::world::lock;

impl BrokenChannel {
    pub(crate) fn ack(&self, tag: DeliveryTag, multiple: bool) -> Settled {
        let fault = self.link.fault;
        let is_open = !self.inside.is_closed.load(Ordering::Relaxed);
        match fault {
            Fault::AckDoesNothing if is_open && lock(&self.inside.held).contains_key(&tag.0) => {
                return Settled::ready(Ok(()));
            }
            Fault::AckMultipleReachesOtherChannels if multiple => {
                for other in self.link.living().iter().filter(|other| !Arc::ptr_eq(other, &self.inside)) {
                    other.each_held(|tag, _, _| drop(other.memory.basic_ack(tag, false)));
                }
            }
            _ => {}
        }
        self.settle(tag, multiple, |memory, tag, multiple| match fault {
            Fault::AckMultipleIsOne if multiple && tag.0 != 0 => memory.basic_ack(tag, false),
            Fault::AckMultipleIsAll if multiple => memory.basic_ack(DeliveryTag(0), true),
            Fault::AckAlwaysMultiple => memory.basic_ack(tag, true),
            _ => memory.basic_ack(tag, multiple),
        })
    }

    pub(crate) fn nack(&self, tag: DeliveryTag, multiple: bool, requeue: bool) -> Settled {
        let fault = self.link.fault;
        self.inside.has_given_back.fetch_or(requeue, Ordering::Relaxed);
        if requeue && let Some(settled) = self.give_back(tag, multiple) {
            return settled;
        }
        self.settle(tag, multiple, |memory, tag, multiple| match fault {
            Fault::NackMultipleIsOne if multiple => memory.basic_nack(tag, false, requeue),
            Fault::NackMultipleDropsAll if multiple => memory.basic_nack(DeliveryTag(0), true, false),
            Fault::RejectRequeues => memory.basic_nack(tag, multiple, true),
            Fault::RequeueDrops => memory.basic_nack(tag, multiple, false),
            _ => memory.basic_nack(tag, multiple, requeue),
        })
    }

    pub(crate) fn put_aside(&self, delivery: &Delivery, queue: &ShortStr, reason: &str) -> Settled {
        if self.is(Fault::SetAsideRequeues) {
            return self.nack(delivery.tag, false, true);
        }
        self.settle(delivery.tag, false, |memory, tag, _| {
            memory.set_aside(&Delivery { tag, ..delivery.clone() }, queue, reason)
        })
    }

    fn settle(
        &self,
        tag: DeliveryTag,
        multiple: bool,
        act: impl Fn(&dyn Channel, DeliveryTag, bool) -> Settled,
    ) -> Settled {
        let fault = self.link.fault;
        let mut tag = tag;
        if fault == Fault::TagsFromEleven && tag.0 > 0 {
            tag.0 = tag.0.saturating_sub(10);
        }
        let lowest = lock(&self.inside.held).keys().next().copied();
        let is_known = lock(&self.inside.held).contains_key(&tag.0);
        match fault {
            Fault::BadTagIsSilent if !is_known && !multiple && !self.inside.is_closed.load(Ordering::Relaxed) => {
                return Settled::ready(Ok(()));
            }
            Fault::OutOfOrderSettleFails if !multiple && is_known && lowest != Some(tag.0) => {
                return Settled::ready(Err(Error::new(ErrorKind::PreconditionFailed, "not the oldest")));
            }
            _ => {}
        }
        let mut held = lock(&self.inside.held);
        if multiple {
            held.retain(|known, _| tag.0 != 0 && *known > tag.0);
        } else {
            held.remove(&tag.0);
        }
        drop(held);
        let mut settled = act(&**self.memory(), tag, multiple);
        match settled.take_now() {
            Some(result) => Settled::ready(self.failed(result)),
            None => settled,
        }
    }

    fn give_back(&self, tag: DeliveryTag, multiple: bool) -> Option<Settled> {
        let held = lock(&self.inside.held).get(&tag.0).cloned();
        let (queue, envelope) = held?;
        let is_tail = match self.link.fault {
            Fault::RequeueToTail => !multiple,
            Fault::RequeueRenewsTtl => envelope.properties.expiration().is_some(),
            _ => false,
        };
        is_tail.then(|| {
            lock(&self.inside.held).remove(&tag.0);
            self.inside.to_tail(tag, queue, envelope);
            Settled::ready(Ok(()))
        })
    }
}
