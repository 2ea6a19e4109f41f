//! What a run took, and what several runs say together.

use std::time::Instant;

use crate::cpu;

/// One run of `count` messages.
#[derive(Clone, Copy, Debug)]
pub struct Sample {
    /// How many messages.
    pub count: u64,
    /// How long it took, in seconds.
    pub seconds: f64,
    /// How much processor time the client used meanwhile, in seconds.
    pub cpu: f64,
}

impl Sample {
    /// Runs `work`, which handles `count` messages, under the clock.
    pub fn of(count: u64, work: impl FnOnce()) -> Self {
        let running = Self::start();
        work();
        running.end(count)
    }

    /// Starts the clock.
    pub fn start() -> Running {
        Running { begin: Instant::now(), cpu: cpu::used() }
    }

    /// Returns the sample of doing this and then `other` with the same messages.
    #[must_use]
    pub fn and(&self, other: Sample) -> Self {
        Sample { count: self.count, seconds: self.seconds + other.seconds, cpu: self.cpu + other.cpu }
    }

    /// Returns messages per second.
    pub fn rate(&self) -> f64 {
        self.count as f64 / self.seconds
    }

    /// Returns the processor time per message, in microseconds.
    pub fn cpu_per_message(&self) -> f64 {
        self.cpu * 1e6 / self.count as f64
    }
}

/// A run under the clock.
#[derive(Debug)]
pub struct Running {
    begin: Instant,
    cpu: f64,
}

impl Running {
    /// Stops the clock after `count` messages.
    pub fn end(self, count: u64) -> Sample {
        Sample { count, seconds: self.begin.elapsed().as_secs_f64(), cpu: cpu::used() - self.cpu }
    }
}

/// The middle of several figures, with the least and the greatest.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Spread {
    /// The least.
    pub least: f64,
    /// The middle one, or the mean of the middle two.
    pub median: f64,
    /// The greatest.
    pub greatest: f64,
}

impl Spread {
    /// Sums up `figures`.
    ///
    /// # Panics
    ///
    /// When there is none.
    pub fn of(figures: impl IntoIterator<Item = f64>) -> Self {
        let mut figures: Vec<f64> = figures.into_iter().collect();
        figures.sort_by(f64::total_cmp);
        let (low, high) = ((figures.len() - 1) / 2, figures.len() / 2);
        Spread { least: figures[0], median: (figures[low] + figures[high]) / 2.0, greatest: *figures.last().unwrap() }
    }

    /// Returns how far the outermost figure is from the median, in percent of it.
    pub fn percent(&self) -> f64 {
        (self.greatest - self.median).max(self.median - self.least) / self.median * 100.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_of_an_even_number_is_between_the_middle_two() {
        let spread = Spread::of([4.0, 1.0, 2.0, 10.0]);
        assert_eq!(spread, Spread { least: 1.0, median: 3.0, greatest: 10.0 });
        assert_eq!(Spread::of([7.0]).median, 7.0);
    }
}
