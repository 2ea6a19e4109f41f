//! The command line.

use crate::check::Check;
use crate::report::Format;

/// What the command line asks for.
#[derive(Clone, Debug, Default)]
pub(crate) struct Arguments {
    pub(crate) filters: Vec<String>,
    pub(crate) skips: Vec<String>,
    pub(crate) is_exact: bool,
    pub(crate) lists: bool,
    pub(crate) is_terse: bool,
    pub(crate) only_ignored: bool,
    pub(crate) explains: bool,
    pub(crate) helps: bool,
    pub(crate) stress: usize,
    pub(crate) jobs: Option<usize>,
    pub(crate) seed: Option<u64>,
    pub(crate) format: Format,
}

impl Arguments {
    /// Reads the arguments behind the program's name.
    ///
    /// # Errors
    ///
    /// What is wrong with them, in words.
    pub(crate) fn parse(arguments: impl Iterator<Item = String>) -> Result<Self, String> {
        let mut read = Arguments { stress: 1, ..Arguments::default() };
        let mut arguments = arguments.flat_map(|argument| match argument.split_once('=') {
            Some((name, value)) if name.starts_with("--") => vec![name.to_owned(), value.to_owned()],
            _ => vec![argument],
        });
        while let Some(argument) = arguments.next() {
            let mut value = || arguments.next().ok_or_else(|| format!("{argument} needs a value"));
            match argument.as_str() {
                "--exact" => read.is_exact = true,
                "--list" => read.lists = true,
                "--ignored" => read.only_ignored = true,
                "--explain" => read.explains = true,
                "--help" | "-h" => read.helps = true,
                "--format" => read.is_terse = value()? == "terse",
                "--stress" => read.stress = number(&argument, &value()?)?.max(1),
                "--jobs" | "--test-threads" => read.jobs = Some(number(&argument, &value()?)?.max(1)),
                "--seed" => {
                    let text = value()?;
                    read.seed = Some(text.parse().map_err(|_| format!("--seed takes a number, not `{text}`"))?);
                }
                "--report" => read.format = value()?.parse()?,
                "--skip" => read.skips.push(value()?),
                "--color" | "--logfile" => drop(value()?),
                // What test runners say and means nothing here.
                "--nocapture" | "--no-capture" | "--include-ignored" | "--show-output" | "-q" | "--quiet"
                | "--test" => {}
                other if other.starts_with('-') => {
                    return Err(format!("unknown argument `{other}`; --help lists those there are"));
                }
                filter => read.filters.push(filter.to_owned()),
            }
        }
        Ok(read)
    }

    /// Says whether a check is asked for.
    pub(crate) fn selects(&self, check: &Check) -> bool {
        let path = check.path();
        let matches = |filter: &String| {
            if self.is_exact { *filter == path || filter == check.name } else { path.contains(filter.as_str()) }
        };
        (self.filters.is_empty() || self.filters.iter().any(matches)) && !self.skips.iter().any(matches)
    }
}

/// What `--help` says.
pub(crate) const HELP: &str = "\
Checks what a transport promises against what it does.

usage: [FILTER]... [OPTION]...

  FILTER           the checks with this in their group::name; several are joined
  --exact          the checks of just this name
  --skip FILTER    all but these
  --list           names them only; with --ignored those that would be skipped
  --explain        says what they promise, what they do, what RabbitMQ does, and where it is written
  --seed N         the random cases of an earlier run; every report says its seed
  --stress N       N runs of each, all at once, or as many as --jobs says
  --jobs N         how many run at once
  --report FORMAT  text (default), md, json or tap

exit code: 0 every promise that is made is kept; 1 one is not, or a known failure passes; 2 the suite could not run.
KOMBU_CONFORMANCE=optional makes that 2 a loud 0. KOMBU_CONFORMANCE_WRITE=1 writes the suite's column of the table in the
repository, against which a whole run is otherwise held.
";

fn number(name: &str, text: &str) -> Result<usize, String> {
    text.parse().map_err(|_| format!("{name} takes a number, not `{text}`"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Arguments, String> {
        Arguments::parse(line.split_whitespace().map(str::to_owned))
    }

    #[test]
    fn what_test_runners_say_is_understood() {
        let read = parse("--list --format terse --ignored").unwrap();
        assert!(read.lists && read.is_terse && read.only_ignored);
        let read = parse("--exact routing::topic_table --nocapture --seed=7 --report tap").unwrap();
        assert!(read.is_exact && read.seed == Some(7) && read.format == Format::Tap);
        assert_eq!(read.filters, ["routing::topic_table"]);
    }

    #[test]
    fn mistakes_are_told() {
        assert!(parse("--sed 3").unwrap_err().starts_with("unknown argument `--sed`"));
        assert_eq!(parse("--stress").unwrap_err(), "--stress needs a value");
        assert!(parse("--report pdf").unwrap_err().contains("pdf"));
    }

    #[test]
    fn names_select_by_part_or_exactly() {
        let topic = crate::checks::all().into_iter().find(|check| check.name == "topic_table").unwrap();
        assert!(parse("topic").unwrap().selects(topic));
        assert!(!parse("--exact topic").unwrap().selects(topic));
        assert!(parse("--exact topic_table").unwrap().selects(topic));
        assert!(parse("--exact routing::topic_table").unwrap().selects(topic));
        assert!(!parse("--skip topic").unwrap().selects(topic));
    }
}
