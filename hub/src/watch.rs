//! Readers and writers of the application's descriptors: level-triggered over an edge-triggered poller.
//!
//! After a callback ran, its descriptor is armed again, and what is still there is reported again. A descriptor found closed, or
//! replaced by another file, is removed and reported once. So is one whose other end closed and whose callback took no notice:
//! Kombu would call it for ever.

use std::os::fd::RawFd;

use kombu_core::hub::{Class, Poller, RemoteHub, RepeatedCallback};
use kombu_core::{Error, ErrorKind, Result};
use mio::unix::SourceFd;
use mio::{Interest, Token};

use crate::descriptor::Descriptor;
use crate::sources::{Role, Watched};
use crate::state::Core;

/// How often a callback may leave the end of a socket unread.
const IGNORED_AT_END: u32 = 16;

/// The same where the hub cannot see whether bytes are left; a pipe holds fewer, so one read byte by byte loses none.
const IGNORED_UNSEEN: u32 = 1 << 16;

impl Core {
    /// Sets the reader or writer of `fd`.
    pub(crate) fn add_watch(&self, fd: RawFd, role: Role, class: Class, callback: RepeatedCallback) -> Result<()> {
        let operation = if role == Role::Reader { "hub.add_reader" } else { "hub.add_writer" };
        let refused = |error: Error| error.during(operation).with("fd", fd);
        if self.shared.is_closed() {
            return Err(refused(Error::new(ErrorKind::Closed, "the hub is closed")));
        }
        let Some(descriptor) = Descriptor::of(fd) else {
            return Err(refused(Error::new(ErrorKind::InvalidArgument, "the descriptor is not open")));
        };
        let reader = role == Role::Reader;
        let wanted = Watched { key: 0, descriptor, reader, writer: !reader };
        let watched = self.sources.borrow().watched(fd);
        let joined = watched.filter(|old| old.descriptor == descriptor).map(|old| Watched {
            reader: old.reader || wanted.reader,
            writer: old.writer || wanted.writer,
            ..old
        });
        let key = match joined.filter(|joined| self.arm(*joined, false).is_ok()) {
            Some(joined) => joined.key,
            None => {
                if let Some(old) = watched {
                    self.remove_dead(old);
                }
                let key = self.sources.borrow_mut().insert_watch(descriptor);
                if let Err(error) = self.arm(Watched { key, ..wanted }, true) {
                    self.sources.borrow_mut().remove_watch(key);
                    return Err(refused(error));
                }
                key
            }
        };
        let old = self.sources.borrow_mut().set_callback(key, role, class, callback);
        drop(old);
        Ok(())
    }

    /// Removes the reader or writer of `fd`; says whether there was one.
    pub(crate) fn remove_watch(&self, fd: RawFd, role: Role) -> bool {
        let (old, left) = {
            let mut sources = self.sources.borrow_mut();
            let Some(watched) = sources.watched(fd) else { return false };
            let Some(old) = sources.remove_callback(watched.key, role) else { return false };
            let left = sources.watched_as(watched.key);
            if left.is_some_and(|left| !left.reader && !left.writer) {
                sources.remove_watch(watched.key);
            }
            (old, left)
        };
        if let Some(left) = left.filter(|left| left.descriptor.is_current()) {
            // Failing means that the descriptor is dead: the next look at it finds that out and says so.
            let _ = if left.reader || left.writer {
                self.arm(left, false)
            } else {
                self.poller.deregister(&mut SourceFd(&left.descriptor.fd))
            };
        }
        drop(old);
        true
    }

    /// Arms the descriptors whose callbacks ran, and looks at one more to see whether it is still the same file.
    pub(crate) fn rearm_watches(&self) {
        let wanted = std::mem::take(&mut *self.rearm.borrow_mut());
        for key in wanted {
            let Some((watched, closed)) = self.sources.borrow_mut().take_rearm(key) else { continue };
            if !watched.descriptor.is_current() {
                self.remove_dead(watched);
            } else if closed && self.is_ignored(watched) {
                self.remove_ignored(watched);
            } else if self.arm(watched, false).is_err() {
                self.remove_dead(watched);
            }
        }
        let next = self.sources.borrow().watch_after(self.looked_at.get());
        if let Some((fd, key)) = next {
            self.looked_at.set(fd);
            let watched = self.sources.borrow().watched_as(key);
            if let Some(watched) = watched.filter(|watched| !watched.descriptor.is_current()) {
                self.remove_dead(watched);
            }
        }
    }

    /// Notes that a descriptor is to be armed before the next poll.
    pub(crate) fn want_rearm(&self, key: usize) {
        if self.sources.borrow_mut().wants_rearm(key) {
            self.rearm.borrow_mut().push(key);
        }
    }

    /// Counts a callback that ran on a closed descriptor; says whether it had its chances.
    fn is_ignored(&self, watched: Watched) -> bool {
        let at_end = watched.descriptor.is_at_end();
        let ignored = self.sources.borrow_mut().count_ignored(watched.key, at_end != Some(false));
        ignored >= if at_end.is_some() { IGNORED_AT_END } else { IGNORED_UNSEEN }
    }

    /// Removes the callback that takes no notice of the end.
    fn remove_ignored(&self, watched: Watched) {
        let (role, what) = if watched.reader { (Role::Reader, "reader") } else { (Role::Writer, "writer") };
        self.sources.borrow_mut().count_ignored(watched.key, false);
        self.remove_watch(watched.descriptor.fd, role);
        let why = format!("the other end closed and the {what} took no notice; it was removed");
        let error = Error::new(ErrorKind::ConnectionLost, why).during("hub.watch").with("fd", watched.descriptor.fd);
        self.report(&error);
    }

    /// Removes a descriptor that was closed, or now means another file.
    fn remove_dead(&self, watched: Watched) {
        let callbacks = self.sources.borrow_mut().remove_watch(watched.key);
        if watched.descriptor.is_current() {
            // The file is there but not registered with this poller; there is nothing to undo.
            let _ = self.poller.deregister(&mut SourceFd(&watched.descriptor.fd));
        }
        self.discard(callbacks);
        let why = "the descriptor was closed without being removed from the hub; its callbacks were removed";
        let error = Error::new(ErrorKind::InvalidState, why).during("hub.watch").with("fd", watched.descriptor.fd);
        self.report(&error);
    }

    fn arm(&self, watched: Watched, first: bool) -> Result<()> {
        let interest = match (watched.reader, watched.writer) {
            (true, true) => Interest::READABLE | Interest::WRITABLE,
            (false, true) => Interest::WRITABLE,
            (_, false) => Interest::READABLE,
        };
        let mut source = SourceFd(&watched.descriptor.fd);
        if first {
            self.poller.register(&mut source, Token(watched.key), interest)
        } else {
            self.poller.reregister(&mut source, Token(watched.key), interest)
        }
    }
}
