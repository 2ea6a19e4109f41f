//! Everything the poller reports on, and what of it is waiting to be called.
//!
//! A reported readiness is noted at its listener, which joins the ready list of its class. So nothing is lost when a nested turn
//! serves one class only, or when a source stops early: a listener stays on its list until it is served.

use std::collections::{BTreeMap, VecDeque};
use std::ops::Bound;
use std::os::fd::RawFd;

use kombu_core::hub::{Class, PollEvent, Progress, Readiness, RepeatedCallback, SourceCallback};

use crate::descriptor::Descriptor;
use crate::per_class::PerClass;
use crate::slots::Slots;

/// All registrations. The key of an entry is its token, and is not used again.
pub(crate) struct Sources {
    entries: Slots<Entry>,
    descriptors: BTreeMap<RawFd, usize>,
    ready: PerClass<VecDeque<(usize, Role)>>,
    listeners: u64,
}

enum Entry {
    Source(Listener<SourceCallback>),
    Watch(Watch),
}

/// A descriptor of the application with its reader and writer.
struct Watch {
    descriptor: Descriptor,
    reader: Option<Listener<RepeatedCallback>>,
    writer: Option<Listener<RepeatedCallback>>,
    rearm: bool,
    /// The last report said that the other end closed.
    closed: bool,
    /// How often in a row a callback left that as it was.
    ignored: u32,
}

struct Listener<C> {
    id: u64,
    class: Class,
    callback: Option<C>,
    pending: Readiness,
    queued: bool,
}

/// Which of an entry's callbacks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    Source,
    Reader,
    Writer,
}

/// A callback of either kind.
pub(crate) enum Called {
    Source(SourceCallback),
    Watch(RepeatedCallback),
}

/// A callback taken out of its slot to be called.
pub(crate) struct Taken {
    pub(crate) key: usize,
    pub(crate) role: Role,
    pub(crate) readiness: Readiness,
    pub(crate) callback: Called,
    /// The next listener in the same place has another.
    pub(crate) listener: u64,
}

/// What a descriptor is to be watched for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Watched {
    pub(crate) key: usize,
    pub(crate) descriptor: Descriptor,
    pub(crate) reader: bool,
    pub(crate) writer: bool,
}

impl Sources {
    pub(crate) fn new() -> Self {
        Sources { entries: Slots::new(), descriptors: BTreeMap::new(), ready: PerClass::default(), listeners: 0 }
    }

    /// Adds a source and returns its key.
    pub(crate) fn insert_source(&mut self, class: Class, callback: SourceCallback) -> usize {
        let listener = self.listener(class, callback);
        self.entries.insert(Entry::Source(listener))
    }

    pub(crate) fn has_source(&self, key: usize) -> bool {
        matches!(self.entries.get(key), Some(Entry::Source(_)))
    }

    /// Removes a source and returns what is to be dropped; `None` when there is no such source.
    pub(crate) fn remove_source(&mut self, key: usize) -> Option<Option<SourceCallback>> {
        if !self.has_source(key) {
            return None;
        }
        match self.entries.remove(key)? {
            Entry::Source(listener) => Some(listener.callback),
            Entry::Watch(_) => None,
        }
    }

    /// Returns how `fd` is watched.
    pub(crate) fn watched(&self, fd: RawFd) -> Option<Watched> {
        self.watched_as(*self.descriptors.get(&fd)?)
    }

    /// Returns how the descriptor registered as `key` is watched.
    pub(crate) fn watched_as(&self, key: usize) -> Option<Watched> {
        match self.entries.get(key)? {
            Entry::Source(_) => None,
            Entry::Watch(watch) => Some(Watched {
                key,
                descriptor: watch.descriptor,
                reader: watch.reader.is_some(),
                writer: watch.writer.is_some(),
            }),
        }
    }

    /// Adds a watch without callbacks.
    pub(crate) fn insert_watch(&mut self, descriptor: Descriptor) -> usize {
        let key = self.entries.insert(Entry::Watch(Watch {
            descriptor,
            reader: None,
            writer: None,
            rearm: false,
            closed: false,
            ignored: 0,
        }));
        self.descriptors.insert(descriptor.fd, key);
        key
    }

    /// Sets the reader or writer of a watch; returns the one before, to be dropped.
    pub(crate) fn set_callback(
        &mut self,
        key: usize,
        role: Role,
        class: Class,
        callback: RepeatedCallback,
    ) -> Option<RepeatedCallback> {
        let listener = self.listener(class, callback);
        let slot = self.watch_slot(key, role)?;
        slot.replace(listener)?.callback
    }

    /// Removes the reader or writer of a watch; returns what is to be dropped, `None` when there was none.
    pub(crate) fn remove_callback(&mut self, key: usize, role: Role) -> Option<Option<RepeatedCallback>> {
        self.watch_slot(key, role)?.take().map(|listener| listener.callback)
    }

    /// Removes a watch and returns what is to be dropped.
    pub(crate) fn remove_watch(&mut self, key: usize) -> Vec<RepeatedCallback> {
        if !matches!(self.entries.get(key), Some(Entry::Watch(_))) {
            return Vec::new();
        }
        let Some(Entry::Watch(watch)) = self.entries.remove(key) else { return Vec::new() };
        if self.descriptors.get(&watch.descriptor.fd) == Some(&key) {
            self.descriptors.remove(&watch.descriptor.fd);
        }
        [watch.reader, watch.writer].into_iter().flatten().filter_map(|listener| listener.callback).collect()
    }

    /// Notes what the poller reported; a token nobody has any more is dropped.
    pub(crate) fn note(&mut self, event: &PollEvent) {
        let key = event.token.0;
        let readiness = event.readiness;
        match self.entries.get_mut(key) {
            None => {}
            Some(Entry::Source(listener)) => listener.note(readiness, (key, Role::Source), &mut self.ready),
            Some(Entry::Watch(watch)) => {
                watch.closed = readiness.closed;
                if !readiness.closed {
                    watch.ignored = 0;
                }
                if let Some(reader) = watch.reader.as_mut().filter(|_| readiness.readable) {
                    reader.note(readiness, (key, Role::Reader), &mut self.ready);
                }
                if let Some(writer) = watch.writer.as_mut().filter(|_| readiness.writable) {
                    writer.note(readiness, (key, Role::Writer), &mut self.ready);
                }
            }
        }
    }

    pub(crate) fn has_ready(&self, class: Class) -> bool {
        !self.ready.of(class).is_empty()
    }

    pub(crate) fn ready_count(&self, class: Class) -> usize {
        self.ready.of(class).len()
    }

    /// Takes the next listener of `class` off its list, with its callback; `None` inside says that it was removed meanwhile.
    pub(crate) fn take_ready(&mut self, class: Class) -> Option<Taken> {
        let (key, role) = self.ready.of_mut(class).pop_front()?;
        let (listener, readiness, callback) = match (self.entries.get_mut(key)?, role) {
            (Entry::Source(listener), Role::Source) => {
                let (readiness, callback) = listener.take()?;
                (listener.id, readiness, Called::Source(callback))
            }
            (Entry::Watch(watch), Role::Reader | Role::Writer) => {
                let slot = if role == Role::Reader { &mut watch.reader } else { &mut watch.writer };
                let listener = slot.as_mut()?;
                let (readiness, callback) = listener.take()?;
                (listener.id, readiness, Called::Watch(callback))
            }
            _ => return None,
        };
        Some(Taken { key, role, readiness, callback, listener })
    }

    /// Puts a source's callback back after its call; gives it back to be dropped when the source is gone.
    pub(crate) fn put_back_source(
        &mut self,
        key: usize,
        id: u64,
        callback: SourceCallback,
        progress: Progress,
    ) -> Option<SourceCallback> {
        let Some(Entry::Source(listener)) = self.entries.get_mut(key) else { return Some(callback) };
        if progress == Progress::More {
            listener.pending = merge(listener.pending, Readiness::ALL);
        }
        listener.put_back(id, callback, (key, Role::Source), &mut self.ready)
    }

    /// Puts a reader or writer back after its call and notes that the descriptor is to be armed again; gives the callback back
    /// when it was removed or replaced meanwhile.
    pub(crate) fn put_back_watch(
        &mut self,
        key: usize,
        role: Role,
        id: u64,
        callback: RepeatedCallback,
    ) -> Option<RepeatedCallback> {
        let Some(Entry::Watch(watch)) = self.entries.get_mut(key) else { return Some(callback) };
        let slot = if role == Role::Reader { &mut watch.reader } else { &mut watch.writer };
        let Some(listener) = slot else { return Some(callback) };
        listener.put_back(id, callback, (key, role), &mut self.ready)
    }

    /// Notes that a watch is to be armed again; says whether it was not noted before.
    pub(crate) fn wants_rearm(&mut self, key: usize) -> bool {
        match self.entries.get_mut(key) {
            Some(Entry::Watch(watch)) => !std::mem::replace(&mut watch.rearm, true),
            _ => false,
        }
    }

    /// Takes that note off, and says whether the last report said that the other end closed.
    pub(crate) fn take_rearm(&mut self, key: usize) -> Option<(Watched, bool)> {
        let watched = self.watched_as(key)?;
        let Some(Entry::Watch(watch)) = self.entries.get_mut(key) else { return None };
        std::mem::take(&mut watch.rearm).then_some((watched, watch.closed))
    }

    /// Counts a callback that left a closed descriptor as it was (`true`), or one that did not; returns the count.
    pub(crate) fn count_ignored(&mut self, key: usize, ignored: bool) -> u32 {
        let Some(Entry::Watch(watch)) = self.entries.get_mut(key) else { return 0 };
        watch.ignored = if ignored { watch.ignored.saturating_add(1) } else { 0 };
        watch.ignored
    }

    /// Returns the watched descriptor after `fd`, in turn.
    pub(crate) fn watch_after(&self, fd: RawFd) -> Option<(RawFd, usize)> {
        let later = (Bound::Excluded(fd), Bound::Unbounded);
        let next = self.descriptors.range(later).next().or_else(|| self.descriptors.first_key_value());
        next.map(|(fd, key)| (*fd, *key))
    }

    pub(crate) fn descriptors(&self) -> Vec<RawFd> {
        self.descriptors.keys().copied().collect()
    }

    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }

    /// Forgets everything; returns the descriptors of the application and what is to be dropped.
    pub(crate) fn clear(&mut self) -> (Vec<Descriptor>, Vec<Called>) {
        self.descriptors.clear();
        self.ready = PerClass::default();
        let mut descriptors = Vec::new();
        let mut callbacks = Vec::new();
        for entry in self.entries.drain() {
            match entry {
                Entry::Source(listener) => callbacks.extend(listener.callback.map(Called::Source)),
                Entry::Watch(watch) => {
                    descriptors.push(watch.descriptor);
                    for listener in [watch.reader, watch.writer].into_iter().flatten() {
                        callbacks.extend(listener.callback.map(Called::Watch));
                    }
                }
            }
        }
        (descriptors, callbacks)
    }

    fn listener<C>(&mut self, class: Class, callback: C) -> Listener<C> {
        self.listeners += 1;
        Listener { id: self.listeners, class, callback: Some(callback), pending: Readiness::default(), queued: false }
    }

    fn watch_slot(&mut self, key: usize, role: Role) -> Option<&mut Option<Listener<RepeatedCallback>>> {
        match (self.entries.get_mut(key)?, role) {
            (Entry::Watch(watch), Role::Reader) => Some(&mut watch.reader),
            (Entry::Watch(watch), Role::Writer) => Some(&mut watch.writer),
            _ => None,
        }
    }
}

impl<C> Listener<C> {
    fn note(&mut self, readiness: Readiness, place: (usize, Role), ready: &mut PerClass<VecDeque<(usize, Role)>>) {
        self.pending = merge(self.pending, readiness);
        // One whose callback is running joins the list when it is put back.
        if !self.queued && self.callback.is_some() {
            self.queued = true;
            ready.of_mut(self.class).push_back(place);
        }
    }

    fn take(&mut self) -> Option<(Readiness, C)> {
        if !std::mem::take(&mut self.queued) {
            return None;
        }
        let callback = self.callback.take()?;
        Some((std::mem::take(&mut self.pending), callback))
    }

    fn put_back(
        &mut self,
        id: u64,
        callback: C,
        place: (usize, Role),
        ready: &mut PerClass<VecDeque<(usize, Role)>>,
    ) -> Option<C> {
        if self.id != id {
            return Some(callback);
        }
        self.callback = Some(callback);
        if self.pending != Readiness::default() {
            self.note(self.pending, place, ready);
        }
        None
    }
}

fn merge(one: Readiness, other: Readiness) -> Readiness {
    Readiness {
        readable: one.readable || other.readable,
        writable: one.writable || other.writable,
        closed: one.closed || other.closed,
    }
}
