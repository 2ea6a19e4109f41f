//! Where a reply ends, whatever is in it.

/// Follows one reply after the other through bytes that come in pieces, by the lengths and counts in them alone.
#[derive(Debug)]
pub(super) struct Extent {
    /// How many values are missing until the reply is complete.
    missing: u64,
    /// How many bytes of a text are missing, its line end included.
    text: u64,
    /// What has come of a line that has no end yet: its kind, and its number as far as it has one.
    line: Option<Line>,
}

#[derive(Clone, Copy, Debug)]
struct Line {
    kind: u8,
    number: u64,
    is_negative: bool,
    digits: u32,
    /// A carriage return was the last byte.
    is_ending: bool,
}

impl Extent {
    /// Begins before the first reply.
    pub(super) fn new() -> Self {
        Extent { missing: 1, text: 0, line: None }
    }

    /// Follows the reply into `bytes`, and returns where it ends there; `None` when it does not. What comes next is the next reply.
    ///
    /// # Errors
    ///
    /// When that is no reply.
    pub(super) fn follow(&mut self, bytes: &[u8]) -> Result<Option<usize>, ()> {
        let mut at = 0;
        loop {
            if self.text > 0 {
                let here = usize::try_from(self.text).unwrap_or(usize::MAX).min(bytes.len() - at);
                at += here;
                self.text -= here as u64;
                if self.text > 0 {
                    return Ok(None);
                }
            }
            if self.missing == 0 {
                self.missing = 1;
                return Ok(Some(at));
            }
            let Some(length) = self.follow_line(&bytes[at..])? else { return Ok(None) };
            at += length;
        }
    }

    /// Follows one line; returns how many bytes of it are here when it has its end.
    fn follow_line(&mut self, bytes: &[u8]) -> Result<Option<usize>, ()> {
        let mut at = 0;
        let mut line = match self.line.take() {
            Some(line) => line,
            None => {
                let Some(kind) = bytes.first() else { return Ok(None) };
                at = 1;
                Line { kind: *kind, number: 0, is_negative: false, digits: 0, is_ending: false }
            }
        };
        if !is_counted(line.kind) {
            if !matches!(line.kind, b'+' | b'-' | b':' | b'_' | b'#' | b',' | b'(') {
                return Err(());
            }
            // The text of a line may hold anything but its end.
            let rest = &bytes[at..];
            let Some(end) = memchr::memchr(b'\n', rest) else {
                self.line = Some(line);
                return Ok(None);
            };
            self.missing -= 1;
            return Ok(Some(at + end + 1));
        }
        for byte in &bytes[at..] {
            at += 1;
            match byte {
                b'\n' if line.is_ending => {
                    self.count(line)?;
                    return Ok(Some(at));
                }
                _ if line.is_ending => return Err(()),
                b'\r' if line.digits > 0 => line.is_ending = true,
                b'-' if line.digits == 0 && !line.is_negative => line.is_negative = true,
                b'0'..=b'9' if line.digits < MAX_DIGITS => {
                    line.number = line.number * 10 + u64::from(byte - b'0');
                    line.digits += 1;
                }
                _ => return Err(()),
            }
        }
        self.line = Some(line);
        Ok(None)
    }

    /// Uses the number of a line.
    fn count(&mut self, line: Line) -> Result<(), ()> {
        self.missing -= 1;
        if line.is_negative {
            // Nothing at all: only texts and lists can be that.
            return if line.number == 1 && matches!(line.kind, b'$' | b'*') { Ok(()) } else { Err(()) };
        }
        match line.kind {
            b'$' | b'=' | b'!' => self.text = line.number + 2,
            b'%' => self.missing = self.missing.saturating_add(line.number * 2),
            // What is said of a value, then the value.
            b'|' => self.missing = self.missing.saturating_add(line.number * 2 + 1),
            _ => self.missing = self.missing.saturating_add(line.number),
        }
        Ok(())
    }
}

fn is_counted(kind: u8) -> bool {
    matches!(kind, b'$' | b'=' | b'!' | b'*' | b'~' | b'>' | b'%' | b'|')
}

/// A number of so many digits, and twice that number, fit.
const MAX_DIGITS: u32 = 18;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reply_ends_where_its_last_value_ends_in_whatever_pieces_it_comes() {
        let replies: &[&[u8]] = &[
            b":1\r\n",
            b"$4\r\n\r\n\r\n\r\n",
            b"*2\r\n*2\r\n:1\r\n$0\r\n\r\n%1\r\n+a\r\n~1\r\n_\r\n",
            b"*0\r\n",
            b"*-1\r\n",
            b"|1\r\n+a\r\n:1\r\n:2\r\n",
        ];
        let all = replies.concat();
        let mut ends = Vec::new();
        replies.iter().fold(0, |at, reply| {
            ends.push(at + reply.len());
            at + reply.len()
        });
        for size in 1..all.len() {
            let mut extent = Extent::new();
            let mut found = Vec::new();
            for (number, piece) in all.chunks(size).enumerate() {
                let mut at = 0;
                while at < piece.len() {
                    let Some(end) = extent.follow(&piece[at..]).unwrap() else { break };
                    at += end;
                    found.push(number * size + at);
                }
            }
            assert_eq!(found, ends, "in pieces of {size}");
        }
    }
}
