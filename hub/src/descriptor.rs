//! Descriptors that belong to the application: which file is meant, and whether anything is left to read.
//!
//! A descriptor number says little: once closed, it soon means another file, perhaps one a transport has registered. So the hub
//! remembers the file behind the number and touches a registration only while that file is still there.

use std::os::fd::RawFd;

use nix::errno::Errno;
use nix::sys::socket::{MsgFlags, recv};
use nix::sys::stat::fstat;

/// A descriptor number and the file it meant when it was registered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Descriptor {
    pub(crate) fd: RawFd,
    device: u64,
    inode: u64,
}

impl Descriptor {
    /// Returns the descriptor of the file that `fd` means now; `None` when it is closed.
    pub(crate) fn of(fd: RawFd) -> Option<Self> {
        let status = fstat(fd).ok()?;
        #[allow(clippy::useless_conversion, clippy::unnecessary_cast, reason = "the types differ between platforms")]
        Some(Descriptor { fd, device: status.st_dev as u64, inode: status.st_ino as u64 })
    }

    /// Says whether the number still means the same open file.
    pub(crate) fn is_current(self) -> bool {
        Descriptor::of(self.fd) == Some(self)
    }

    /// Says whether a read would find the end, or a broken connection; `None` for what is not a socket.
    ///
    /// Looking takes a pending error off the socket, so the reader gets the first chance.
    pub(crate) fn is_at_end(self) -> Option<bool> {
        let mut byte = [0];
        match recv(self.fd, &mut byte, MsgFlags::MSG_PEEK | MsgFlags::MSG_DONTWAIT) {
            Ok(0) => Some(true),
            Ok(_) | Err(Errno::EAGAIN | Errno::EINTR) => Some(false),
            Err(Errno::ENOTSOCK) => None,
            Err(_) => Some(true),
        }
    }
}
