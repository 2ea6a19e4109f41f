//! A reference that goes round instead of being counted anew for each message.
//!
//! Each message of a consumer refers to its origin. While a callback works off messages, the reference of one that was answered is
//! kept for the next one: counting references up and down costs as much as all else that core does for a message.

use std::cell::Cell;
use std::sync::Arc;

use crate::message::Origin;

/// What this thread keeps.
enum Spare {
    /// Nothing may be kept: no callback is working off messages here.
    Closed,
    Empty,
    Kept(Arc<Origin>),
}

thread_local! {
    static SPARE: Cell<Spare> = const { Cell::new(Spare::Closed) };
}

/// Lets this thread keep a reference until the guard is dropped.
pub(crate) fn open() -> Open {
    // A thread that is ending keeps nothing.
    Open(SPARE.try_with(|spare| spare.replace(Spare::Empty)).ok())
}

/// See [`open`].
pub(crate) struct Open(Option<Spare>);

impl Drop for Open {
    fn drop(&mut self) {
        let Some(before) = self.0.take() else { return };
        // What was kept may be the last reference, whose drop closes a channel: it goes when the cell is free.
        drop(SPARE.try_with(|spare| spare.replace(before)));
    }
}

/// Returns a reference to `origin`: the one kept, or a new one.
#[inline]
pub(crate) fn take(origin: &Arc<Origin>) -> Arc<Origin> {
    let kept = SPARE.try_with(|spare| match spare.replace(Spare::Empty) {
        Spare::Kept(kept) if Arc::ptr_eq(&kept, origin) => Some(kept),
        other => {
            spare.set(other);
            None
        }
    });
    kept.ok().flatten().unwrap_or_else(|| Arc::clone(origin))
}

/// Keeps a reference for the next message, or drops it.
#[inline]
pub(crate) fn give(origin: Arc<Origin>) {
    let mut origin = Some(origin);
    _ = SPARE.try_with(|spare| match spare.replace(Spare::Closed) {
        Spare::Empty => spare.set(origin.take().map_or(Spare::Empty, Spare::Kept)),
        other => spare.set(other),
    });
}
