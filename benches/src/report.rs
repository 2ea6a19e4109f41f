//! The table that `side_by_side` prints.

use crate::sample::{Sample, Spread};

/// One comparison: our samples and theirs, taken in turn.
pub struct Row {
    /// What was measured.
    pub name: &'static str,
    /// Ours, one per round.
    pub ours: Vec<Sample>,
    /// Theirs, one per round; empty where they have no such thing.
    pub theirs: Vec<Sample>,
}

impl Row {
    /// Starts a row.
    pub fn new(name: &'static str) -> Self {
        Row { name, ours: Vec::new(), theirs: Vec::new() }
    }

    fn cells(&self) -> Vec<String> {
        let ratio = Spread::of(self.ours.iter().zip(&self.theirs).map(|(ours, theirs)| ours.rate() / theirs.rate()));
        vec![
            self.name.to_owned(),
            rate(&self.ours),
            rate(&self.theirs),
            format!("{:.1}× ({:.1}–{:.1})", ratio.median, ratio.least, ratio.greatest),
            cpu(&self.ours),
            cpu(&self.theirs),
        ]
    }
}

/// Writes the median of the rates with the distance of the outermost one.
pub(crate) fn rate(samples: &[Sample]) -> String {
    let rate = Spread::of(samples.iter().map(Sample::rate));
    let text = match rate.median {
        rate if rate >= 1e6 => format!("{:.2} M", rate / 1e6),
        rate if rate >= 1e4 => format!("{:.0} k", rate / 1e3),
        rate => format!("{:.1} k", rate / 1e3),
    };
    format!("{text} ±{:.0} %", rate.percent())
}

/// Writes the median of the processor times per message, in microseconds.
pub(crate) fn cpu(samples: &[Sample]) -> String {
    let cpu = Spread::of(samples.iter().map(Sample::cpu_per_message)).median;
    if cpu.is_nan() {
        // Work of another process.
        return "–".to_owned();
    }
    if cpu < 10.0 { format!("{cpu:.2}") } else { format!("{cpu:.0}") }
}

/// Prints the rows as a Markdown table.
pub fn print(title: &str, rows: &[Row]) {
    let head =
        ["", "ours, msg/s", "Kombu, msg/s", "ratio", "our CPU, µs/msg", "Kombu's CPU, µs/msg"].map(str::to_owned);
    let mut lines = vec![head.to_vec()];
    lines.extend(rows.iter().map(Row::cells));
    table(title, &lines);
}

/// Prints lines of cells as a Markdown table, the first one as its head.
pub(crate) fn table(title: &str, lines: &[Vec<String>]) {
    let widths: Vec<usize> = (0..lines[0].len())
        .map(|column| lines.iter().map(|line| line[column].chars().count()).max().unwrap_or_default())
        .collect();
    println!("\n### {title}\n");
    for (number, line) in lines.iter().enumerate() {
        let cells: Vec<String> = line.iter().zip(&widths).map(|(cell, width)| format!(" {cell:<width$} ")).collect();
        println!("|{}|", cells.join("|"));
        if number == 0 {
            let rules: Vec<String> = widths.iter().map(|width| "-".repeat(width + 2)).collect();
            println!("|{}|", rules.join("|"));
        }
    }
}
