//! From exchange to exchange: where a message ends up.

use std::sync::Arc;

use kombu_core::{Envelope, Error, ErrorKind, ExchangeKind, Result, ShortStr};

use super::{Reached, Table, Undeclared};

/// What is known of where a message goes.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Walked {
    /// All of it: the queues, and the fanout exchanges that tell who listens. Each once.
    Done(Reached),
    /// The table of this exchange has to be read.
    Missing(ShortStr),
}

/// Follows a message through exchanges and alternates, each at most once. `declared` says what kind this process has declared an
/// exchange of; what nobody knows routes nothing, unless it is the first.
///
/// # Errors
///
/// `NotFound` when there is no such exchange, `Unsupported` for kinds that nobody can route by.
pub(crate) fn walk(
    envelope: &Envelope,
    tables: &[(ShortStr, Arc<Table>)],
    declared: impl Fn(&str) -> Option<ExchangeKind>,
) -> Result<Walked> {
    let mut found = Reached::default();
    let mut seen = vec![envelope.exchange.clone()];
    let mut index = 0;
    while let Some(exchange) = seen.get(index).cloned() {
        let Some((_, table)) = tables.iter().find(|(known, _)| *known == exchange) else {
            return Ok(Walked::Missing(exchange));
        };
        let is_first = index == 0;
        index += 1;
        let kind = declared(&exchange).or_else(|| table.kind());
        if kind.is_none() && table.is_empty() {
            if is_first {
                return Err(no_exchange(&exchange));
            }
            continue;
        }
        let mut reached = table.reach(kind.as_ref().ok_or(Undeclared), envelope)?;
        if reached == Reached::default()
            && let Some(alternate) = table.alternate()
        {
            match alternate {
                "" => reached.queues.push(envelope.routing_key.clone()),
                alternate => reached.exchanges.push(alternate.into()),
            }
        }
        if kind == Some(ExchangeKind::Fanout) {
            // Its queues get the message by listening.
            reached.queues = reached.queues.split_off(table.all_queues().len());
            found.exchanges.push(exchange);
        }
        for queue in reached.queues {
            if !found.queues.contains(&queue) {
                found.queues.push(queue);
            }
        }
        for next in reached.exchanges {
            if !seen.contains(&next) {
                seen.push(next);
            }
        }
    }
    Ok(Walked::Done(found))
}

/// AMQP 404.
#[cold]
pub(crate) fn no_exchange(exchange: &str) -> Error {
    Error::new(ErrorKind::NotFound, "the exchange is not declared and has no bindings").with("exchange", exchange)
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use kombu_core::{FieldTable, Headers, Properties};

    use super::*;
    use crate::binding::{Record, field};

    fn envelope(exchange: &str, key: &str) -> Envelope {
        Envelope {
            exchange: exchange.into(),
            routing_key: key.into(),
            properties: Properties::default(),
            headers: Headers::empty(),
            body: Bytes::new(),
        }
    }

    /// An exchange: Kombu's members, its kind and alternate, the exchanges it is bound to by key.
    fn table(members: &[&str], kind: &str, alternate: Option<&str>, bound: &[(&str, &str)]) -> Arc<Table> {
        let arguments = alternate.map(|name| format!("{{\"alternate-exchange\": \"{name}\"}}")).unwrap_or("{}".into());
        let mut fields = vec![("type".to_owned(), kind.to_owned()), ("arguments".to_owned(), arguments)];
        for (exchange, key) in bound {
            fields.push((field(true, exchange, key, &FieldTable::new()).unwrap(), String::new()));
        }
        Arc::new(Table::parse(members, "|").with_record(Record::parse(&fields)))
    }

    fn end(key: &str, tables: &[(ShortStr, Arc<Table>)]) -> (Vec<ShortStr>, Vec<ShortStr>) {
        match walk(&envelope("a", key), tables, |_| None).unwrap() {
            Walked::Done(Reached { queues, exchanges }) => (queues, exchanges),
            Walked::Missing(exchange) => panic!("{exchange} is missing"),
        }
    }

    #[test]
    fn a_chain_is_followed_once_and_a_cycle_ends() {
        let a = table(&["k||q1"], "direct", None, &[("b", "k"), ("a", "k")]);
        let b = table(&["#|^.*?$|q1", "#|^.*?$|q2"], "topic", None, &[("a", "#"), ("f", "k")]);
        let f = table(&["||q3"], "fanout", None, &[]);
        let mut tables = vec![("a".into(), a)];
        assert_eq!(walk(&envelope("a", "k"), &tables, |_| None).unwrap(), Walked::Missing("b".into()));
        tables.extend([("b".into(), b), ("f".into(), f)]);
        assert_eq!(end("k", &tables), (vec!["q1".into(), "q2".into()], vec!["f".into()]));
        assert_eq!(end("other", &tables), (vec![], vec![]));
    }

    #[test]
    fn what_matches_nothing_goes_to_the_alternate() {
        let a = table(&["k||q1"], "direct", Some("b"), &[]);
        let b = table(&["k2||q2"], "direct", Some(""), &[]);
        let tables = [("a".into(), a), ("b".into(), b)];
        assert_eq!(end("k", &tables).0, ["q1"]);
        assert_eq!(end("k2", &tables).0, ["q2"]);
        assert_eq!(end("else", &tables).0, ["else"], "the alternate of the alternate is the default exchange");
        let gone = [("a".into(), table(&[], "direct", Some("x"), &[])), ("x".into(), Arc::new(Table::default()))];
        assert_eq!(end("k", &gone), (vec![], vec![]));
    }

    #[test]
    fn a_fanout_exchange_with_nobody_bound_still_tells_who_listens() {
        let tables = [("a".into(), table(&[], "fanout", None, &[]))];
        assert_eq!(end("k", &tables), (vec![], vec!["a".into()]));
    }

    #[test]
    fn what_is_not_there_is_not_found() {
        let tables = [("a".into(), Arc::new(Table::default()))];
        let error = walk(&envelope("a", "k"), &tables, |_| None).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NotFound);
        assert!(walk(&envelope("a", "k"), &tables, |_| Some(ExchangeKind::Direct)).is_ok());
    }
}
