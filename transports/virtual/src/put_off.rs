//! Acknowledgements that are given and not carried out yet.

use std::sync::{Mutex, MutexGuard, PoisonError};

use kombu_core::DeliveryTag;

/// How many are put off at most.
const MOST: usize = 64;

/// The acknowledgements that were put off on one channel.
///
/// Giving one takes this mutex, which hardly anybody else wants, instead of the broker's, which everybody does. Whoever looks at the
/// channel's unsettled deliveries has the broker's mutex and takes them out first.
#[derive(Debug, Default)]
pub(crate) struct PutOff(Mutex<Tags>);

#[derive(Debug, Default)]
struct Tags {
    tags: Vec<DeliveryTag>,
    /// The channel is gone: nobody would carry out what is put off.
    is_closed: bool,
}

/// What became of an acknowledgement.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Put {
    /// It is put off.
    Off,
    /// It is put off, and all of them are to be carried out now.
    Enough,
    /// It is not: the channel is gone.
    Refused,
}

impl PutOff {
    /// Puts an acknowledgement off.
    #[inline]
    pub(crate) fn put(&self, tag: DeliveryTag) -> Put {
        let mut tags = self.lock();
        if tags.is_closed {
            return Put::Refused;
        }
        tags.tags.push(tag);
        if tags.tags.len() < MOST { Put::Off } else { Put::Enough }
    }

    /// Exchanges what was put off for `empty`, which must be empty.
    pub(crate) fn take(&self, empty: &mut Vec<DeliveryTag>) {
        std::mem::swap(&mut self.lock().tags, empty);
    }

    /// Takes what was put off, and refuses more.
    pub(crate) fn close(&self) -> Vec<DeliveryTag> {
        let mut tags = self.lock();
        tags.is_closed = true;
        std::mem::take(&mut tags.tags)
    }

    #[inline]
    fn lock(&self) -> MutexGuard<'_, Tags> {
        // Nothing panics while it is held.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
