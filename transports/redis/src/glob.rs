//! The part of Redis's patterns that our subscriptions use.

/// Says whether `pattern`, in which `*` stands for any text and `\` makes the next character itself, matches all of `text`.
pub(crate) fn matches(pattern: &str, text: &str) -> bool {
    let (pattern, text) = (pattern.as_bytes(), text.as_bytes());
    let (mut at, mut place) = (0, 0);
    // Where to go on when something behind the last `*` does not fit: that `*` then takes one byte more.
    let mut retry = None;
    loop {
        if pattern.get(at) == Some(&b'*') {
            at += 1;
            retry = Some((at, place));
            continue;
        }
        let escaped = pattern.get(at) == Some(&b'\\') && at + 1 < pattern.len();
        let wanted = pattern.get(at + usize::from(escaped));
        match (wanted, text.get(place)) {
            (None, None) => return true,
            (Some(wanted), Some(found)) if wanted == found => {
                at += 1 + usize::from(escaped);
                place += 1;
            }
            _ => {
                let Some((behind, taken)) = retry.filter(|(_, taken)| *taken < text.len()) else { return false };
                retry = Some((behind, taken + 1));
                (at, place) = (behind, taken + 1);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::matches;

    #[test]
    fn stars_match_any_text_and_escapes_themselves() {
        for (pattern, text, expected) in [
            ("/0.e", "/0.e", true),
            ("/0.e", "/0.e/k", false),
            ("/0.e/a.*", "/0.e/a.b.c", true),
            ("/0.e/*.c", "/0.e/a.b.c", true),
            ("*", "", true),
            ("a*b*c", "axxbyybzc", true),
            ("a*b*c", "axxbyyb", false),
            ("a\\*", "a*", true),
            ("a\\*", "ab", false),
            ("", "a", false),
        ] {
            assert_eq!(matches(pattern, text), expected, "{pattern} {text}");
        }
    }
}
