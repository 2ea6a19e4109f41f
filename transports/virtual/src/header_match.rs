//! How a headers exchange compares.

use kombu_core::{Error, ErrorKind, FieldTable, Headers, Result, Scope, ShortStr, Value};

/// What a binding to a headers exchange asks of a message.
#[derive(Clone, Debug)]
pub struct HeaderMatch {
    all: bool,
    wanted: Vec<(ShortStr, Value)>,
}

impl HeaderMatch {
    /// Reads the arguments of a binding: `x-match` says how many of the others must match. Arguments that start `x-` are not
    /// compared, unless `x-match` ends `-with-x`.
    ///
    /// # Errors
    ///
    /// `PreconditionFailed` for an `x-match` that means nothing.
    pub fn of(arguments: &FieldTable) -> Result<Self> {
        let wrong = |message| Err(Error::new(ErrorKind::PreconditionFailed, message).in_scope(Scope::Channel));
        let (all, with_x) = match arguments.get("x-match") {
            None => (true, false),
            Some(value) => match value.as_str() {
                Some("all") => (true, false),
                Some("any") => (false, false),
                Some("all-with-x") => (true, true),
                Some("any-with-x") => (false, true),
                Some(_) => return wrong("`x-match` is none of all, any, all-with-x, any-with-x"),
                None => return wrong("`x-match` is not text"),
            },
        };
        let is_wanted = |name: &ShortStr| *name != "x-match" && (with_x || !name.starts_with("x-"));
        let wanted = arguments.iter().filter(|(name, _)| is_wanted(name));
        Ok(HeaderMatch { all, wanted: wanted.map(|(name, value)| (name.clone(), value.clone())).collect() })
    }

    /// Says whether a message with these headers is routed.
    pub fn matches(&self, headers: &Headers) -> bool {
        let mut found = self.wanted.iter().map(|(name, wanted)| match (headers.get(name), wanted) {
            (None, _) => false,
            // A binding without a value asks for the header, whatever it says.
            (Some(_), Value::Null) => true,
            (Some(value), wanted) => is_equal(value, wanted),
        });
        if self.all { found.all(|found| found) } else { found.any(|found| found) }
    }
}

/// Types count, but for numbers: 1 is 1.0 and not "1", as RabbitMQ compares.
fn is_equal(left: &Value, right: &Value) -> bool {
    match (left, right) {
        (Value::Int(int), Value::Float(float)) | (Value::Float(float), Value::Int(int)) => *int as f64 == *float,
        (left, right) => left == right,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn says<const B: usize, const H: usize>(binding: [(&str, Value); B], headers: [(&str, Value); H]) -> bool {
        let headers = Headers::from(FieldTable::from(headers));
        HeaderMatch::of(&FieldTable::from(binding)).is_ok_and(|wanted| wanted.matches(&headers))
    }

    /// What RabbitMQ 3.10.8 answered.
    #[test]
    fn it_compares_as_rabbitmq() {
        let text = |text: &str| Value::from(text);
        let int = |number: i64| Value::from(number);
        let [all, any] = ["all", "any"].map(|text| ("x-match", Value::from(text)));
        let [all_x, any_x] = ["all-with-x", "any-with-x"].map(|text| ("x-match", Value::from(text)));
        assert!(says([("a", int(1))], [("a", int(1))]));
        assert!(says([("a", int(1))], [("a", Value::from(1.0))]));
        assert!(says([("a", Value::from(1.0))], [("a", int(1))]));
        assert!(!says([("a", int(1))], [("a", text("1"))]));
        assert!(!says([("a", int(1))], [("a", Value::from(true))]));
        assert!(says([("a", Value::Null)], [("a", int(5))]));
        assert!(!says([("a", Value::Null)], []));
        assert!(!says([("a", text("s"))], [("a", Value::Null)]));
        assert!(says([], []));
        assert!(!says([any.clone()], [("a", int(1))]));
        assert!(says([any.clone(), ("a", int(1)), ("b", int(2))], [("b", int(2))]));
        assert!(!says([all.clone(), ("a", int(1)), ("b", int(2))], [("b", int(2))]));
        assert!(says([all, ("x-a", int(1))], []));
        assert!(!says([all_x.clone(), ("x-a", int(1))], []));
        assert!(says([all_x.clone(), ("x-a", int(1))], [("x-a", int(1))]));
        assert!(says([any_x.clone(), ("x-a", int(1))], [("x-a", int(1))]));
        assert!(!says([any.clone(), ("x-a", int(1))], [("x-a", int(1))]));
        assert!(!says([any_x.clone(), ("x-a", int(1))], []));
        assert!(says([all_x], []));
        assert!(!says([any_x], []));
        assert!(says([any, ("a", Value::Null)], [("a", int(1))]));
    }
}
