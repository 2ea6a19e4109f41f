//! What AMQP says a pattern matches, written to be read, not to be fast.

/// Says whether a topic pattern matches a routing key: words are separated by dots, `*` is one word, `#` zero or more.
pub(crate) fn topic_matches(pattern: &str, key: &str) -> bool {
    let pattern: Vec<_> = words(pattern);
    let key: Vec<_> = words(key);
    matches(&pattern, &key)
}

/// An empty key has no words; an empty part of another is a word.
fn words(text: &str) -> Vec<&str> {
    if text.is_empty() { Vec::new() } else { text.split('.').collect() }
}

fn matches(pattern: &[&str], key: &[&str]) -> bool {
    match pattern.split_first() {
        None => key.is_empty(),
        Some((&"#", rest)) => (0..=key.len()).any(|skipped| matches(rest, &key[skipped..])),
        Some((word, rest)) => {
            key.split_first().is_some_and(|(first, behind)| (*word == "*" || word == first) && matches(rest, behind))
        }
    }
}

/// Cases seen on RabbitMQ: pattern, key, whether it matches.
pub(crate) const TOPIC_CASES: &[(&str, &str, bool)] = &[
    ("#", "", true),
    ("*", "", false),
    ("a.*", "a.", true),
    ("a.*", "a", false),
    ("*.b", ".b", true),
    ("a.#.b", "a.b", true),
    ("a.#.b", "a.x.y.b", true),
    ("#.#", "a", true),
    ("a.*.#", "a.b", true),
    ("a.*.#", "a", false),
    ("a.b", "A.b", false),
    ("a.b", "a.b.", false),
    ("", "", true),
];

#[cfg(test)]
mod tests {
    use super::{TOPIC_CASES, topic_matches};

    #[test]
    fn the_reference_agrees_with_rabbitmq() {
        for (pattern, key, matches) in TOPIC_CASES {
            assert_eq!(topic_matches(pattern, key), *matches, "`{pattern}` ~ `{key}`");
        }
    }
}
