//! Several libraries doing the same work in turn.

use crate::report::{cpu, rate, table};
use crate::sample::{Sample, Spread};

/// One side of a contest: its name, and one measurement of it.
pub struct Side<'a> {
    name: &'a str,
    run: Box<dyn FnMut() -> Sample + 'a>,
}

impl<'a> Side<'a> {
    /// Makes a side of `run`, which does the work once.
    pub fn new(name: &'a str, run: impl FnMut() -> Sample + 'a) -> Self {
        Side { name, run: Box::new(run) }
    }
}

/// Lets every side do its work in turn, `rounds` times after one round that does not count, and prints the rates with the ratios of
/// the first side, ours, to each other one.
///
/// The order of the sides turns from round to round, so that none is always measured in the wake of the same other.
///
/// # Panics
///
/// When there is no side.
pub fn hold(title: &str, rounds: usize, sides: &mut [Side<'_>]) {
    let mut samples: Vec<Vec<Sample>> = vec![Vec::new(); sides.len()];
    for round in 0..=rounds {
        for step in 0..sides.len() {
            let number = (round + step) % sides.len();
            let sample = (sides[number].run)();
            if round > 0 {
                samples[number].push(sample);
            }
        }
        eprint!(".");
    }
    eprintln!();
    let mut lines = vec![["", "msg/s", "CPU, µs/msg", "ours ÷ this"].map(str::to_owned).to_vec()];
    for (number, side) in sides.iter().enumerate() {
        let ratio = if number == 0 { String::new() } else { ratio(&samples[0], &samples[number]) };
        lines.push(vec![side.name.to_owned(), rate(&samples[number]), cpu(&samples[number]), ratio]);
    }
    table(title, &lines);
}

/// Says how many times as fast `ours` is, round by round.
fn ratio(ours: &[Sample], theirs: &[Sample]) -> String {
    let ratio = Spread::of(ours.iter().zip(theirs).map(|(ours, theirs)| ours.rate() / theirs.rate()));
    format!("{:.2}× ({:.2}–{:.2})", ratio.median, ratio.least, ratio.greatest)
}
