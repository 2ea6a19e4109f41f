//! The report as JSON.

use std::fmt::Write;

use kombu_core::Support;

use super::Report;
use crate::outcome::Outcome;

pub(super) fn json(report: &Report) -> String {
    let mut text = String::from("{");
    // Writing to a string does not fail.
    let _ = write!(
        text,
        "\"transport\":{},\"broker\":{},\"seed\":{},\"exit_code\":{},\"checks\":[",
        quoted(report.transport),
        quoted(&report.broker),
        report.seed,
        report.exit_code()
    );
    for (index, result) in report.results.iter().enumerate() {
        let (outcome, detail) = match &result.outcome {
            Outcome::Passed(Support::Emulated) => ("passed", "emulated"),
            Outcome::Passed(_) => ("passed", "native"),
            Outcome::Failed(why) => ("failed", why.as_str()),
            Outcome::Skipped(why) => ("skipped", why.as_str()),
            Outcome::NotRun(why) => ("not run", why.as_str()),
            Outcome::KnownFailure(why) => ("known failure", why.as_str()),
        };
        let _ = write!(
            text,
            "{}\n{{\"group\":{},\"name\":{},\"promise\":{},\"outcome\":{},\"detail\":{},\"milliseconds\":{}}}",
            if index == 0 { "" } else { "," },
            quoted(result.check.group.name()),
            quoted(result.check.name),
            quoted(result.check.promise),
            quoted(outcome),
            quoted(detail),
            result.took.as_millis()
        );
    }
    text.push_str("\n]}\n");
    text
}

/// Returns `text` as a JSON string.
fn quoted(text: &str) -> String {
    let mut quoted = String::from("\"");
    for letter in text.chars() {
        match letter {
            '"' => quoted.push_str("\\\""),
            '\\' => quoted.push_str("\\\\"),
            '\n' => quoted.push_str("\\n"),
            letter if letter < ' ' => {
                // Writing to a string does not fail.
                let _ = write!(quoted, "\\u{:04x}", u32::from(letter));
            }
            letter => quoted.push(letter),
        }
    }
    quoted.push('"');
    quoted
}

#[cfg(test)]
mod tests {
    use super::quoted;

    #[test]
    fn any_text_is_quoted() {
        assert_eq!(quoted("a \"b\"\\\n\u{1}ü"), "\"a \\\"b\\\"\\\\\\n\\u0001ü\"");
    }
}
