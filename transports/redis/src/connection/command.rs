//! Commands as Redis reads them: an array of bulk strings.

/// Appends the head of a command of `count` words; the words follow by [`word`].
pub(crate) fn head(out: &mut Vec<u8>, count: usize) {
    length(out, b'*', count);
}

/// Appends one word of a command.
pub(crate) fn word(out: &mut Vec<u8>, word: impl AsRef<[u8]>) {
    let word = word.as_ref();
    length(out, b'$', word.len());
    out.extend_from_slice(word);
    out.extend_from_slice(b"\r\n");
}

/// Appends one word of `length` bytes, which `write` appends.
pub(crate) fn word_of(out: &mut Vec<u8>, length_of: usize, write: impl FnOnce(&mut Vec<u8>)) {
    length(out, b'$', length_of);
    let start = out.len();
    write(out);
    debug_assert_eq!(out.len() - start, length_of);
    out.extend_from_slice(b"\r\n");
}

/// Appends one word that is a number.
pub(crate) fn number(out: &mut Vec<u8>, number: impl Into<i64>) {
    let mut digits = Digits::new();
    word(out, digits.of(number.into()));
}

/// Appends a whole command.
pub(crate) fn command<W: AsRef<[u8]>>(out: &mut Vec<u8>, words: &[W]) {
    head(out, words.len());
    for one in words {
        word(out, one);
    }
}

fn length(out: &mut Vec<u8>, mark: u8, length: usize) {
    let mut digits = Digits::new();
    out.push(mark);
    out.extend_from_slice(digits.of(i64::try_from(length).unwrap_or(i64::MAX)));
    out.extend_from_slice(b"\r\n");
}

/// The decimal digits of a number, without an allocation.
struct Digits([u8; 20]);

impl Digits {
    fn new() -> Self {
        Digits([0; 20])
    }

    fn of(&mut self, number: i64) -> &[u8] {
        let mut rest = number.unsigned_abs();
        let mut start = self.0.len();
        loop {
            start -= 1;
            // The remainder of a division by ten is one digit.
            self.0[start] = b'0' + u8::try_from(rest % 10).unwrap_or(0);
            rest /= 10;
            if rest == 0 {
                break;
            }
        }
        if number < 0 {
            start -= 1;
            self.0[start] = b'-';
        }
        &self.0[start..]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_counted_and_measured() {
        let mut out = Vec::new();
        command(&mut out, &[b"SET".as_slice(), b"", b"a\r\nb"]);
        assert_eq!(out, b"*3\r\n$3\r\nSET\r\n$0\r\n\r\n$4\r\na\r\nb\r\n");
    }

    #[test]
    fn numbers_are_written_in_full() {
        for value in [0, 7, -1, 1234567890, i64::MAX, i64::MIN] {
            let mut out = Vec::new();
            number(&mut out, value);
            let text = value.to_string();
            assert_eq!(out, format!("${}\r\n{text}\r\n", text.len()).into_bytes());
        }
    }
}
