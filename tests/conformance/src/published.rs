//! The table in the repository, and whether a run says the same.

use std::path::PathBuf;

use crate::report::{Report, Table};

/// A file that says what each transport keeps.
#[derive(Clone, Debug)]
pub(crate) struct Published {
    pub(crate) path: PathBuf,
    pub(crate) head: &'static str,
}

impl Published {
    /// Holds the file against a run, or writes the run's column into it.
    ///
    /// # Errors
    ///
    /// What differs, in words.
    pub(crate) fn compare(&self, report: &Report) -> Result<(), String> {
        let path = self.path.display();
        let unexplained: Vec<_> = report.without_reason().into_iter().collect();
        if !unexplained.is_empty() {
            return Err(format!("no reason is given why these are not declared: {}", unexplained.join(", ")));
        }
        let there = match std::fs::read_to_string(&self.path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(format!("{path}: {error}")),
            there => there.unwrap_or_default(),
        };
        let (written, fresh) = (Table::parse(&there), Table::of(report));
        let differences = written.differences(&fresh, report.transport());
        let text = format!("{}{}", self.head, written.with(fresh));
        if text == there {
            return Ok(());
        }
        if std::env::var_os("KOMBU_CONFORMANCE_WRITE").is_some() {
            return std::fs::write(&self.path, text).map_err(|error| format!("{path}: {error}"));
        }
        let differences = if differences.is_empty() { vec!["its text".to_owned()] } else { differences };
        Err(format!(
            "{path} differs from this run in\n  {}\nKOMBU_CONFORMANCE_WRITE=1 writes it anew",
            differences.join("\n  ")
        ))
    }
}
