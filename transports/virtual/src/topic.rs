//! The meaning of topic binding keys (AMQP 0-9-1 §3.1.3.3), for one key and for tables of them.
//!
//! Keys are words separated by dots; an empty key has no word, and two dots in a row have an empty one between them. In a binding
//! key, `*` stands for exactly one word and `#` for zero or more.

mod table;
mod words;

pub use table::TopicTable;
use words::Words;

/// Says whether a topic exchange routes `routing_key` to a queue bound with `binding_key`.
///
/// Case counts. Allocates nothing; the time is at most the product of the words of both keys, however many `#` there are.
///
/// ```
/// use kombu_virtual::topic::matches;
///
/// assert!(matches("orders.*.created", "orders.eu.created"));
/// assert!(matches("orders.#", "orders"));
/// assert!(!matches("orders.*", "orders"));
/// ```
pub fn matches(binding_key: &str, routing_key: &str) -> bool {
    let mut pattern = Words::of(binding_key);
    let mut key = Words::of(routing_key);
    // Where to go on when the words do not fit: behind the last `#`, which then takes one word more. Earlier ones need no second
    // try: whatever they could take, the last one can take as well.
    let mut retry: Option<(Words<'_>, Words<'_>)> = None;
    loop {
        let mut rest = pattern;
        match rest.next() {
            Some("#") if rest.is_empty() => return true,
            Some("#") => {
                pattern = rest;
                retry = Some((pattern, key));
                continue;
            }
            Some(wanted) => {
                let mut behind = key;
                if behind.next().is_some_and(|word| wanted == "*" || wanted == word) {
                    (pattern, key) = (rest, behind);
                    continue;
                }
            }
            None if key.is_empty() => return true,
            None => {}
        }
        let Some((after_hash, untaken)) = &mut retry else { return false };
        if untaken.next().is_none() {
            return false;
        }
        (pattern, key) = (*after_hash, *untaken);
    }
}
