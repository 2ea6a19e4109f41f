//! The table of CONFORMANCE.md: a row for each check, a column for each suite; no times, seeds or versions.

use std::fmt::{self, Write};

use kombu_core::Support;

use super::Report;
use crate::outcome::{CheckResult, Outcome};

/// A table that was written, or is to be.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Table {
    names: Vec<String>,
    rows: Vec<Row>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Row {
    group: String,
    check: String,
    promise: String,
    cells: Vec<Cell>,
}

/// What is said of a check in a column, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Cell {
    word: String,
    note: Option<String>,
}

impl Table {
    /// Returns the table of one run.
    pub(crate) fn of(report: &Report) -> Self {
        let row = |result: &CheckResult| Row {
            group: result.check.group.name().to_owned(),
            check: result.check.name.to_owned(),
            promise: result.check.promise.to_owned(),
            cells: vec![cell(report, result)],
        };
        Table { names: vec![report.transport.to_owned()], rows: report.results.iter().map(row).collect() }
    }

    /// Puts the one column of `fresh` in place of the one of that name, or behind all others. The rows are those of `fresh`.
    pub(crate) fn with(mut self, fresh: Table) -> Self {
        let Some(name) = fresh.names.into_iter().next() else { return self };
        let at = self.names.iter().position(|known| *known == name).unwrap_or(self.names.len());
        if at == self.names.len() {
            self.names.push(name);
        }
        let old = std::mem::take(&mut self.rows);
        self.rows = fresh
            .rows
            .into_iter()
            .map(|mut row| {
                let known = old.iter().find(|known| known.check == row.check);
                let mut cells = known.map_or_else(Vec::new, |known| known.cells.clone());
                cells.resize(self.names.len(), Cell { word: "–".to_owned(), note: None });
                cells[at] = row.cells.remove(0);
                Row { cells, ..row }
            })
            .collect();
        self
    }

    /// Reads what was written; what is no part of a table is passed over.
    pub(crate) fn parse(text: &str) -> Self {
        let note = |cell: &str| {
            let number = cell.split_once('[')?.1.strip_suffix(']')?;
            let line = text.lines().find_map(|line| line.strip_prefix(&format!("{number}. ")))?;
            Some(line.to_owned())
        };
        let (mut table, mut group) = (Table::default(), String::new());
        for line in text.lines() {
            if let Some(name) = line.strip_prefix("## ") {
                name.clone_into(&mut group);
            }
            let Some(line) = line.strip_prefix("| ").and_then(|line| line.strip_suffix(" |")) else { continue };
            let columns: Vec<_> = line.split(" | ").collect();
            let [check, promise, cells @ ..] = columns.as_slice() else { continue };
            if *check == "check" {
                table.names = cells.iter().map(|name| (*name).to_owned()).collect();
                continue;
            }
            let cell =
                |cell: &&str| Cell { word: cell.split(" [").next().unwrap_or_default().to_owned(), note: note(cell) };
            table.rows.push(Row {
                group: group.clone(),
                check: check.trim_matches('`').to_owned(),
                promise: (*promise).to_owned(),
                cells: cells.iter().map(cell).collect(),
            });
        }
        table
    }

    /// Returns what differs in column `name`, a line for each check.
    pub(crate) fn differences(&self, other: &Table, name: &str) -> Vec<String> {
        let column = |table: &Table, check: &str| {
            let at = table.names.iter().position(|known| known == name)?;
            let row = table.rows.iter().find(|row| row.check == check)?;
            row.cells.get(at).map(|cell| (row.promise.clone(), cell.clone()))
        };
        let checks = other.rows.iter().chain(self.rows.iter().filter(|row| column(other, &row.check).is_none()));
        let text = |found: &Option<(String, Cell)>| match found {
            Some((_, Cell { word, note: Some(note) })) => format!("{word} ({note})"),
            Some((_, cell)) => cell.word.clone(),
            None => "nothing".to_owned(),
        };
        checks
            .filter_map(|row| {
                let (old, new) = (column(self, &row.check), column(other, &row.check));
                (old != new).then(|| format!("{}: {} -> {}", row.check, text(&old), text(&new)))
            })
            .collect()
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut notes: Vec<&str> = Vec::new();
        let mut group = "";
        for row in &self.rows {
            if group != row.group {
                group = &row.group;
                writeln!(f, "\n## {group}\n\n| check | promise | {} |", self.names.join(" | "))?;
                writeln!(f, "|---|---{}|", "|---".repeat(self.names.len()))?;
            }
            write!(f, "| `{}` | {} |", row.check, row.promise)?;
            for cell in &row.cells {
                f.write_char(' ')?;
                f.write_str(&cell.word)?;
                if let Some(note) = &cell.note {
                    let at = notes.iter().position(|known| known == note).unwrap_or_else(|| {
                        notes.push(note);
                        notes.len() - 1
                    });
                    write!(f, " [{}]", at + 1)?;
                }
                f.write_str(" |")?;
            }
            f.write_char('\n')?;
        }
        if !notes.is_empty() {
            f.write_str("\n## notes\n\n")?;
        }
        for (number, note) in (1..).zip(notes) {
            writeln!(f, "{number}. {note}")?;
        }
        Ok(())
    }
}

fn cell(report: &Report, result: &CheckResult) -> Cell {
    let plain = |word: &str| Cell { word: word.to_owned(), note: None };
    let noted = |word: &str, note: String| Cell { word: word.to_owned(), note: Some(note) };
    let name = report.transport;
    match &result.outcome {
        Outcome::Passed(_) if result.check.needs.iter().all(|need| need.is_hook()) => plain("yes"),
        Outcome::Passed(Support::Emulated) => plain("emulated"),
        Outcome::Passed(_) => plain("native"),
        Outcome::Failed(_) => plain("**FAILS**"),
        Outcome::Skipped(why) => {
            let capability = super::missing(why);
            let reason = report.reason(capability).unwrap_or("no reason is given");
            noted("no", format!("{name}, `{capability}`: {reason}"))
        }
        Outcome::NotRun(why) => noted("not run", format!("{name}: {why}")),
        Outcome::KnownFailure(why) => {
            noted("known failure", format!("{name}: {}", why.split(": ").next().unwrap_or_default()))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WRITTEN: &str = "\
# A head that is passed over

## settle

| check | promise | memory | redis |
|---|---|---|---|
| `ack_removes` | what is acknowledged is gone | yes | yes |
| `ack_multiple` | up to the tag | native | no [1] |

## flow

| check | promise | memory | redis |
|---|---|---|---|
| `fifo` | in order | no [2] | no [1] |

## notes

1. redis, `x`: it cannot
2. memory, `y`: it must not
";

    #[test]
    fn what_is_read_is_what_was_written() {
        let table = Table::parse(WRITTEN);
        assert_eq!(format!("# A head that is passed over\n{table}"), WRITTEN);
    }

    #[test]
    fn a_fresh_column_replaces_its_own_and_no_other() {
        let mut fresh = Table::parse(WRITTEN);
        fresh.names = vec!["redis".to_owned()];
        fresh.rows.iter_mut().for_each(|row| drop(row.cells.remove(0)));
        let written = Table::parse(WRITTEN);
        assert_eq!(written.clone().with(fresh.clone()), written);
        fresh.rows[1].cells[0] = Cell { word: "emulated".to_owned(), note: None };
        assert_eq!(written.differences(&fresh, "redis"), ["ack_multiple: no (redis, `x`: it cannot) -> emulated"]);
        assert!(written.with(fresh).to_string().contains("| `ack_multiple` | up to the tag | native | emulated |"));
    }

    #[test]
    fn a_check_that_is_new_or_gone_is_a_difference() {
        let written = Table::parse(WRITTEN);
        let mut fresh = written.clone();
        let mut gone = fresh.rows.remove(0);
        gone.check = "nack_removes".to_owned();
        fresh.rows.push(gone);
        let differences = written.differences(&fresh, "memory");
        assert_eq!(differences, ["nack_removes: nothing -> yes", "ack_removes: yes -> nothing"]);
    }
}
