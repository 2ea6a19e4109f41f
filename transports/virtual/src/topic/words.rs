//! The words of a key.

/// The words of a routing or binding key, from the left; an empty key has none.
#[derive(Clone, Copy)]
pub(super) struct Words<'a>(Option<&'a str>);

impl<'a> Words<'a> {
    pub(super) fn of(key: &'a str) -> Self {
        Words((!key.is_empty()).then_some(key))
    }

    pub(super) fn is_empty(self) -> bool {
        self.0.is_none()
    }
}

impl<'a> Iterator for Words<'a> {
    type Item = &'a str;

    fn next(&mut self) -> Option<&'a str> {
        let rest = self.0?;
        match rest.as_bytes().iter().position(|byte| *byte == b'.') {
            Some(dot) => {
                self.0 = Some(&rest[dot + 1..]);
                Some(&rest[..dot])
            }
            None => {
                self.0 = None;
                Some(rest)
            }
        }
    }
}
