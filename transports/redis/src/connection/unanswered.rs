//! The bytes of requests that are not answered yet.

use std::collections::VecDeque;
use std::ops::Range;

/// The bytes of requests, in order, each kept until its answer is there.
///
/// They stay in the buffers they were written into, which are handed over whole: a request lies in one of them, and no byte is
/// moved while others come and go.
#[derive(Default)]
pub(super) struct Unanswered {
    buffers: VecDeque<Buffer>,
    /// How many buffers at the front are written whole.
    written: usize,
    /// An empty buffer for whoever writes next.
    spare: Vec<u8>,
}

struct Buffer {
    bytes: Vec<u8>,
    /// `bytes[..answered]` belong to answered requests.
    answered: usize,
    /// `bytes[..sent]` are written.
    sent: usize,
}

impl Unanswered {
    /// Takes over what `bytes` hold, leaving it empty.
    pub(super) fn append(&mut self, bytes: &mut Vec<u8>) {
        if bytes.is_empty() {
            return;
        }
        // What is small goes along with what waits already: one write takes it all.
        if let Some(last) = self.buffers.back_mut()
            && last.sent < last.bytes.len()
            && bytes.len() <= SMALL
            && last.bytes.len() <= LARGE
        {
            last.bytes.append(bytes);
            return;
        }
        let bytes = std::mem::replace(bytes, std::mem::take(&mut self.spare));
        self.buffers.push_back(Buffer { bytes, answered: 0, sent: 0 });
    }

    /// Adds the bytes of one request, to be written behind all others.
    pub(super) fn push(&mut self, request: &[u8]) {
        match self.buffers.back_mut() {
            Some(last) => last.bytes.extend_from_slice(request),
            None => self.append(&mut request.to_vec()),
        }
        // The last buffer may have been written whole.
        self.written = self.written.min(self.buffers.len().saturating_sub(1));
    }

    /// Returns bytes that are to be written; none are left when there are none.
    pub(super) fn unsent(&self) -> &[u8] {
        self.buffers.get(self.written).map_or(&[], |buffer| &buffer.bytes[buffer.sent..])
    }

    /// Notes that the next `count` of the unsent bytes are written.
    pub(super) fn advance(&mut self, count: usize) {
        let Some(buffer) = self.buffers.get_mut(self.written) else { return };
        buffer.sent += count;
        if buffer.sent == buffer.bytes.len() {
            self.written += 1;
        }
    }

    /// Says whether anything is written that is not answered.
    pub(super) fn is_owed(&self) -> bool {
        self.buffers.front().is_some_and(|buffer| buffer.sent > buffer.answered)
    }

    /// Returns the bytes of the first request, which are `length`.
    pub(super) fn first(&self, length: usize) -> &[u8] {
        self.buffers.front().map_or(&[], |buffer| &buffer.bytes[buffer.answered..buffer.answered + length])
    }

    /// Forgets the first request, whose bytes are `length`.
    pub(super) fn forget_first(&mut self, length: usize) {
        let Some(buffer) = self.buffers.front_mut() else { return };
        buffer.answered += length;
        if buffer.answered < buffer.bytes.len() {
            return;
        }
        self.written = self.written.saturating_sub(1);
        if let Some(mut buffer) = self.buffers.pop_front()
            && buffer.bytes.capacity() <= KEEP_CAPACITY
            && buffer.bytes.capacity() > self.spare.capacity()
        {
            buffer.bytes.clear();
            self.spare = buffer.bytes;
        }
    }

    /// Returns where each request lies, given their lengths.
    pub(super) fn places(&self) -> Places<'_> {
        Places { unanswered: self, buffer: 0, at: self.buffers.front().map_or(0, |buffer| buffer.answered) }
    }

    /// Takes out requests that are not written, by their places in order.
    pub(super) fn remove(&mut self, places: Vec<Place>) {
        for place in places.into_iter().rev() {
            if let Some(buffer) = self.buffers.get_mut(place.buffer) {
                buffer.bytes.drain(place.range);
            }
        }
        self.buffers.retain(|buffer| buffer.answered < buffer.bytes.len());
        let is_written = |buffer: &Buffer| buffer.sent == buffer.bytes.len();
        self.written = self.buffers.iter().position(|buffer| !is_written(buffer)).unwrap_or(self.buffers.len());
    }
}

/// Where the bytes of a request lie.
pub(super) struct Place {
    buffer: usize,
    range: Range<usize>,
}

/// Goes from request to request.
pub(super) struct Places<'a> {
    unanswered: &'a Unanswered,
    buffer: usize,
    at: usize,
}

impl<'a> Places<'a> {
    /// Returns the place of the next request, whose bytes are `length`, its bytes, and whether any of them may be written.
    pub(super) fn next(&mut self, length: usize) -> (Place, &'a [u8], bool) {
        let buffers = &self.unanswered.buffers;
        if buffers.get(self.buffer).is_some_and(|buffer| self.at == buffer.bytes.len()) {
            self.buffer += 1;
            self.at = 0;
        }
        let range = self.at..self.at + length;
        self.at = range.end;
        let buffer = buffers.get(self.buffer);
        let bytes = buffer.and_then(|buffer| buffer.bytes.get(range.clone())).unwrap_or_default();
        let is_written = buffer.is_some_and(|buffer| range.start < buffer.sent);
        (Place { buffer: self.buffer, range }, bytes, is_written)
    }
}

/// What is copied rather than written by itself.
const SMALL: usize = 8 * 1024;
const LARGE: usize = 64 * 1024;
/// A larger buffer is not kept.
const KEEP_CAPACITY: usize = 1024 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    fn of(buffers: &[&[u8]]) -> Unanswered {
        let mut unanswered = Unanswered::default();
        for bytes in buffers {
            let mut filled = bytes.repeat(SMALL + 1);
            filled.truncate(SMALL + 1);
            unanswered.append(&mut filled);
            assert!(filled.is_empty());
        }
        unanswered
    }

    #[test]
    fn what_is_small_goes_along_with_what_waits() {
        let mut unanswered = Unanswered::default();
        unanswered.append(&mut b"ab".to_vec());
        unanswered.append(&mut b"cd".to_vec());
        assert_eq!(unanswered.unsent(), b"abcd");
        unanswered.advance(4);
        assert_eq!(unanswered.unsent(), b"");
        unanswered.append(&mut b"ef".to_vec());
        assert_eq!(unanswered.unsent(), b"ef", "what is written stays as it is");
        for request in [b"ab", b"cd", b"ef"] {
            assert!(unanswered.is_owed() || request == b"ef");
            assert_eq!(unanswered.first(2), request);
            unanswered.forget_first(2);
        }
        assert!(!unanswered.is_owed() && unanswered.unsent() == b"ef"[2..].to_vec());
    }

    #[test]
    fn what_is_large_stays_where_it_was_written() {
        let mut unanswered = of(&[b"a", b"b"]);
        assert!(unanswered.unsent().iter().all(|byte| *byte == b'a'));
        unanswered.advance(SMALL);
        assert_eq!(unanswered.unsent(), b"a");
        unanswered.advance(1);
        assert_eq!(unanswered.unsent().len(), SMALL + 1);
        unanswered.forget_first(SMALL + 1);
        assert!(!unanswered.is_owed());
        assert_eq!(unanswered.first(2), b"bb");
        let mut next = b"c".repeat(SMALL + 1);
        unanswered.append(&mut next);
        assert!(next.capacity() > SMALL, "a buffer that was answered is used again");
    }

    #[test]
    fn places_tell_what_may_be_written_and_what_is_removed_never_is() {
        let mut unanswered = of(&[b"a", b"b", b"c"]);
        unanswered.advance(SMALL + 1);
        unanswered.advance(1);
        let mut places = unanswered.places();
        let found: Vec<_> =
            [SMALL + 1, 2, SMALL - 1, SMALL + 1].into_iter().map(|length| places.next(length)).collect();
        assert_eq!(
            found.iter().map(|(_, bytes, written)| (bytes[0], *written)).collect::<Vec<_>>(),
            [(b'a', true), (b'b', true), (b'b', false), (b'c', false)]
        );
        let unwritten: Vec<Place> =
            found.into_iter().filter(|(.., written)| !written).map(|(place, ..)| place).collect();
        unanswered.remove(unwritten);
        assert_eq!(unanswered.unsent(), b"b");
        unanswered.advance(1);
        unanswered.forget_first(SMALL + 1);
        unanswered.push(b"d");
        assert_eq!(unanswered.unsent(), b"d");
        unanswered.forget_first(2);
        unanswered.advance(1);
        unanswered.forget_first(1);
        assert!(unanswered.unsent().is_empty() && !unanswered.is_owed() && unanswered.first(0).is_empty());
    }
}
