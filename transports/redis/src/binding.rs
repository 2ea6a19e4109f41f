//! Binding tables: Redis sets with one member per binding, `routing_key SEP pattern SEP queue`.
//!
//! The pattern of a topic binding is a regular expression of Python, made from the key and written exactly as Kombu writes
//! it, so that Python clients route by it and can remove it. We never match with it: [`Table::queues`] matches the *key* by
//! AMQP's rules. The two differ where Kombu's expression does not mean what AMQP says:
//!
//! | binding key | routing key | here, as in AMQP | Python Kombu |
//! |---|---|---|---|
//! | `a.#` | `a` | yes | no: `#` never takes its dot along |
//! | `#.end` | `end` | yes | no |
//! | `mid.#.z` | `mid.z` | yes | no |
//! | `a.*` | `a.` | yes: an empty word is a word | no |
//! | `a*b` | `aab` | no: a word is a wildcard or it is not | yes: taken as a regular expression |
//! | `**` | anything | only the word `**` | the publish fails |

mod letters;
mod record;
mod table;
mod walk;

pub(crate) use self::record::{Reached, Record, field};
pub(crate) use self::table::{Table, Undeclared};
pub(crate) use self::walk::{Walked, no_exchange, walk};

use kombu_core::ExchangeKind;

use self::letters::is_alphanumeric;

/// Returns the member that binds `queue` to an exchange of `kind` with `key`.
pub(crate) fn member(kind: &ExchangeKind, key: &str, queue: &str, sep: &str) -> String {
    let pattern = if *kind == ExchangeKind::Topic { pattern(key) } else { String::new() };
    format!("{key}{sep}{pattern}{sep}{queue}")
}

/// Returns Kombu's regular expression for the topic binding key `key`, byte for byte.
pub(crate) fn pattern(key: &str) -> String {
    let mut pattern = String::with_capacity(key.len() + 8);
    pattern.push('^');
    for (index, word) in key.split('.').enumerate() {
        if index > 0 {
            pattern.push_str("\\.");
        }
        match word {
            "*" => pattern.push_str("[^\\.]+"),
            "#" => pattern.push_str(".*?"),
            word => word.chars().for_each(|char| push_escaped(&mut pattern, char)),
        }
    }
    pattern.push('$');
    pattern
}

fn push_escaped(pattern: &mut String, char: char) {
    match char {
        '\0' => pattern.push_str("\\000"),
        '#' | '*' => pattern.push(char),
        char if is_alphanumeric(char) => pattern.push(char),
        char => pattern.extend(['\\', char]),
    }
}

/// The three fields of a member.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Member<'a> {
    /// The binding key.
    pub(crate) key: &'a str,
    /// Python's regular expression; empty unless the exchange was declared as a topic exchange.
    pub(crate) pattern: &'a str,
    /// The queue.
    pub(crate) queue: &'a str,
}

impl<'a> Member<'a> {
    /// Takes a member apart, or returns `None` when it does not have three fields.
    pub(crate) fn parse(member: &'a str, sep: &str) -> Option<Self> {
        let mut fields = member.split(sep);
        match (fields.next(), fields.next(), fields.next(), fields.next()) {
            (Some(key), Some(pattern), Some(queue), None) => Some(Member { key, pattern, queue }),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_escape_what_python_takes_for_no_letter() {
        for (key, expected) in [
            ("", "^$"),
            ("a.*.c", "^a\\.[^\\.]+\\.c$"),
            ("#", "^.*?$"),
            ("a-b_c.#", "^a\\-b\\_c\\..*?$"),
            ("a*b.**", "^a*b\\.**$"),
            ("\0", "^\\000$"),
            ("é.日本.٣", "^é\\.日本\\.٣$"),
            // A vowel sign is alphabetic to Unicode and no letter to Python.
            ("की", "^क\\ी$"),
            ("Ⓐ€", "^\\Ⓐ\\€$"),
            ("..", "^\\.\\.$"),
        ] {
            assert_eq!(pattern(key), expected, "{key}");
        }
    }

    #[test]
    fn members_have_three_fields() {
        let parsed = Member::parse("k||q", "|");
        assert_eq!(parsed, Some(Member { key: "k", pattern: "", queue: "q" }));
        for member in ["", "k", "k|q", "k|p|q|r"] {
            assert_eq!(Member::parse(member, "|"), None, "{member}");
        }
        for kind in [ExchangeKind::Direct, ExchangeKind::Topic, ExchangeKind::Fanout] {
            let member = member(&kind, "a.#", "q", "\u{6}\u{16}");
            let parsed = Member::parse(&member, "\u{6}\u{16}").unwrap();
            assert_eq!((parsed.key, parsed.queue), ("a.#", "q"));
            assert_eq!(parsed.pattern.is_empty(), kind != ExchangeKind::Topic);
        }
    }
}
