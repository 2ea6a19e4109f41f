//! Callbacks of `on_tick` and `on_close`, in the order they were added.

use std::collections::BTreeMap;
use std::ops::Bound;

use kombu_core::hub::{Callback, Class, HookId, RepeatedCallback};

/// All hooks; ids are never used again.
#[derive(Default)]
pub(crate) struct Hooks {
    tick: BTreeMap<u64, TickHook>,
    close: BTreeMap<u64, (Class, Callback)>,
    last: u64,
}

struct TickHook {
    class: Class,
    /// `None` while it is called.
    callback: Option<RepeatedCallback>,
}

/// A hook that was removed: to be dropped once nothing is borrowed.
pub(crate) type Removed = (Option<RepeatedCallback>, Option<Callback>);

impl Hooks {
    pub(crate) fn add_tick(&mut self, class: Class, callback: RepeatedCallback) -> HookId {
        self.last += 1;
        self.tick.insert(self.last, TickHook { class, callback: Some(callback) });
        HookId(self.last)
    }

    pub(crate) fn add_close(&mut self, class: Class, callback: Callback) -> HookId {
        self.last += 1;
        self.close.insert(self.last, (class, callback));
        HookId(self.last)
    }

    pub(crate) fn remove(&mut self, id: HookId) -> Option<Removed> {
        let tick = self.tick.remove(&id.0).map(|hook| (hook.callback, None));
        tick.or_else(|| self.close.remove(&id.0).map(|(_, callback)| (None, Some(callback))))
    }

    /// Returns the id of the newest hook.
    pub(crate) fn last(&self) -> u64 {
        self.last
    }

    /// Takes the first tick hook of `class` after `id` and not after `last`, to call it.
    pub(crate) fn take_tick(&mut self, class: Class, id: u64, last: u64) -> Option<(u64, RepeatedCallback)> {
        if id >= last {
            return None;
        }
        let mut later = self.tick.range_mut((Bound::Excluded(id), Bound::Included(last)));
        later.find_map(|(id, hook)| {
            if hook.class != class {
                return None;
            }
            hook.callback.take().map(|callback| (*id, callback))
        })
    }

    /// Puts a tick hook back after its call; gives it back to be dropped when it was removed meanwhile.
    pub(crate) fn put_back_tick(&mut self, id: u64, callback: RepeatedCallback) -> Option<RepeatedCallback> {
        match self.tick.get_mut(&id) {
            Some(hook) => {
                hook.callback = Some(callback);
                None
            }
            None => Some(callback),
        }
    }

    /// Takes the first close hook that is not after `last`.
    pub(crate) fn take_close(&mut self, last: u64) -> Option<(Class, Callback)> {
        let first = self.close.first_entry().filter(|entry| *entry.key() <= last)?;
        Some(first.remove())
    }
}
