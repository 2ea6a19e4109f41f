//! Topic keys match as AMQP says: one by one, in tables, and at any length.

use kombu_virtual::topic::{TopicTable, matches};

/// The definition, word by word; exponential, and obviously right.
fn reference(pattern: &[&str], key: &[&str]) -> bool {
    match (pattern.split_first(), key.split_first()) {
        (None, None) => true,
        (Some((&"#", rest)), None) => reference(rest, key),
        (Some((&"#", rest)), Some((_, behind))) => reference(rest, key) || reference(pattern, behind),
        (Some((&"*", rest)), Some((_, behind))) => reference(rest, behind),
        (Some((wanted, rest)), Some((word, behind))) => wanted == word && reference(rest, behind),
        _ => false,
    }
}

fn words(key: &str) -> Vec<&str> {
    if key.is_empty() { Vec::new() } else { key.split('.').collect() }
}

/// A small generator of numbers, the same in every run (xorshift).
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % limit
    }

    fn key(&mut self, words: &[&str]) -> String {
        let count = self.below(6);
        (0..count).map(|_| words[self.below(words.len() as u64) as usize]).collect::<Vec<_>>().join(".")
    }
}

const PATTERN_WORDS: [&str; 7] = ["a", "b", "", "*", "#", "#", "*"];
const KEY_WORDS: [&str; 4] = ["a", "b", "", "*"];

#[test]
fn the_table_of_the_reference_broker_holds() {
    for (pattern, key, expected) in [
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
        ("A.b", "a.b", false),
        ("a.b", "a.b.", false),
        ("", "", true),
        ("", "a", false),
        ("a", "", false),
        ("#.a", "a", true),
        ("#.a", "b.a.a", true),
        ("#.a.#", "b", false),
        ("*.*", ".", true),
        ("#", "a.b.c", true),
        ("a#", "a.b", false),
        ("*a", "ba", false),
        ("*.#.*", "a", false),
        ("*.#.*", "a.b", true),
    ] {
        assert_eq!(matches(pattern, key), expected, "`{pattern}` and `{key}`");
        assert_eq!(reference(&words(pattern), &words(key)), expected, "the reference on `{pattern}` and `{key}`");
    }
}

#[test]
fn twenty_thousand_random_pairs_match_as_defined() {
    let mut numbers = Numbers(0x9E37_79B9_7F4A_7C15);
    let mut matched = 0;
    for _ in 0..20_000 {
        let (pattern, key) = (numbers.key(&PATTERN_WORDS), numbers.key(&KEY_WORDS));
        let expected = reference(&words(&pattern), &words(&key));
        assert_eq!(matches(&pattern, &key), expected, "`{pattern}` and `{key}`");
        matched += u32::from(expected);
    }
    assert!((2_000..18_000).contains(&matched), "{matched} of 20000: the pairs prove little");
}

#[test]
fn a_table_finds_what_the_keys_match_one_by_one_while_it_changes() {
    let mut numbers = Numbers(0x2545_F491_4F6C_DD1D);
    let mut table = TopicTable::new();
    let mut bound: Vec<(String, u64)> = Vec::new();
    for round in 0..4_000 {
        if numbers.below(3) < 2 || bound.is_empty() {
            let pair = (numbers.key(&PATTERN_WORDS), numbers.below(5));
            let is_new = !bound.contains(&pair);
            assert_eq!(table.insert(&pair.0, pair.1), is_new);
            if is_new {
                bound.push(pair);
            }
        } else {
            let (pattern, value) = bound.swap_remove(numbers.below(bound.len() as u64) as usize);
            assert!(table.remove(&pattern, &value));
            assert!(!table.remove(&pattern, &value));
        }
        let key = numbers.key(&KEY_WORDS);
        let mut found = Vec::new();
        table.find(&key, |value| found.push(*value));
        let mut expected: Vec<_> =
            bound.iter().filter(|(pattern, _)| matches(pattern, &key)).map(|(_, value)| *value).collect();
        found.sort_unstable();
        expected.sort_unstable();
        assert_eq!(found, expected, "round {round}, key `{key}`");
    }
    for (pattern, value) in bound {
        assert!(table.remove(&pattern, &value));
    }
    assert!(table.is_empty());
}

#[test]
fn many_hashes_cost_no_more_than_the_product_of_the_words() {
    // What backtracks without bound does not come back from this in a lifetime.
    let pattern = "#.a.".repeat(100) + "b";
    let key = "a.".repeat(1_000) + "c";
    assert!(!matches(&pattern, &key));
    assert!(matches(&pattern, &("a.".repeat(1_000) + "b")));
    assert!(matches(&"#.".repeat(100), &"a.".repeat(1_000)));
    let mut table = TopicTable::new();
    table.insert(&pattern, ());
    table.insert(&("#.".repeat(100) + "b"), ());
    let mut found = 0;
    table.find(&key, |()| found += 1);
    assert_eq!(found, 0);
    table.find(&("a.".repeat(1_000) + "b"), |()| found += 1);
    assert_eq!(found, 2);
}
