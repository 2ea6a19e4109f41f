//! What a check says when a promise is broken, and the few words it is written in.

use std::fmt;

use kombu_core::{Error, ErrorKind};

/// What a check ends with.
pub(crate) type Verdict<T = ()> = Result<T, Failure>;

/// A broken promise, in words.
#[derive(Debug)]
pub(crate) struct Failure {
    text: String,
    error: Option<Error>,
}

impl Failure {
    pub(crate) fn new(text: impl Into<String>) -> Self {
        Failure { text: text.into(), error: None }
    }

    /// Returns the error it was made from, or itself when there is none.
    pub(crate) fn into_error(self) -> Result<Error, Failure> {
        match self {
            Failure { error: Some(error), .. } => Ok(error),
            other => Err(other),
        }
    }

    /// Puts what was being done before the text.
    pub(crate) fn during(mut self, what: impl fmt::Display) -> Self {
        self.text = format!("{what}: {}", self.text);
        self
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Failure { text: format!("unexpected error {:?}: {error}", error.kind()), error: Some(error) }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// Adds what was being done.
pub(crate) trait During {
    fn during(self, what: impl fmt::Display) -> Self;
}

impl<T> During for Verdict<T> {
    fn during(self, what: impl fmt::Display) -> Self {
        self.map_err(|failure| failure.during(what))
    }
}

/// Holds when `got` is `want`.
pub(crate) fn same<T: PartialEq<W> + fmt::Debug, W: fmt::Debug>(what: impl fmt::Display, got: T, want: W) -> Verdict {
    if got == want { Ok(()) } else { Err(Failure::new(format!("{what}: want {}, got {}", short(&want), short(&got)))) }
}

/// Holds when `holds`.
pub(crate) fn ensure(holds: bool, otherwise: impl Into<String>) -> Verdict {
    if holds { Ok(()) } else { Err(Failure::new(otherwise)) }
}

/// Holds when the broker refused with one of `kinds`; returns the error.
pub(crate) fn refused<T: fmt::Debug>(
    what: impl fmt::Display,
    result: Verdict<T>,
    kinds: &[ErrorKind],
) -> Verdict<Error> {
    match result {
        Err(Failure { error: Some(error), .. }) if kinds.contains(&error.kind()) => Ok(error),
        Err(failure) => Err(failure.during(format!("{what}: want an error of kind {kinds:?}"))),
        Ok(value) => Err(Failure::new(format!("{what}: want an error of kind {kinds:?}, got {}", short(&value)))),
    }
}

/// Long lists are cut: a failure should fit a screen.
fn short(value: &impl fmt::Debug) -> String {
    const MOST: usize = 400;
    let text = format!("{value:?}");
    match text.char_indices().nth(MOST) {
        Some((end, _)) => format!("{}… ({} characters)", &text[..end], text.len()),
        None => text,
    }
}
