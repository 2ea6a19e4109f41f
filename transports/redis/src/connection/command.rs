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

/// Appends a whole command.
pub(crate) fn command<W: AsRef<[u8]>>(out: &mut Vec<u8>, words: &[W]) {
    head(out, words.len());
    for one in words {
        word(out, one);
    }
}

fn length(out: &mut Vec<u8>, mark: u8, length: usize) {
    let mut digits = [0; 20];
    let mut start = digits.len();
    let mut rest = length;
    loop {
        start -= 1;
        // The remainder of a division by ten is one digit.
        digits[start] = b'0' + u8::try_from(rest % 10).unwrap_or(0);
        rest /= 10;
        if rest == 0 {
            break;
        }
    }
    out.push(mark);
    out.extend_from_slice(&digits[start..]);
    out.extend_from_slice(b"\r\n");
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
}
