//! A story is told to both, until they answer differently.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use crate::link::PATIENCE;
use crate::operation::Operation;
use crate::side::{Known, Side};

/// How long to look for the shortest story that both answer differently.
const LONGEST_SEARCH: Duration = Duration::from_secs(120);

/// Tells both `story`.
///
/// # Errors
///
/// Where they differ, with what was told before.
pub(crate) fn tell(url: &str, prefix: &str, story: &[Operation]) -> Result<(), String> {
    tell_within(PATIENCE, url, prefix, story)
}

/// Leaves out of a story what is not needed for a difference, and returns what is left and how it ends.
pub(crate) fn shortened(url: &str, prefix: &str, story: &[Operation]) -> Option<(Vec<Operation>, String)> {
    let end = Instant::now() + LONGEST_SEARCH;
    let mut number = 0;
    let mut fails = |story: &[Operation]| {
        number += 1;
        // What has not come by now would have come on a machine at rest.
        tell_within(Duration::from_secs(3), url, &format!("{prefix}-{number}"), story).err()
    };
    let mut shortest = story.to_vec();
    let mut why = fails(&shortest)?;
    let mut chunk = shortest.len() / 2;
    while chunk > 0 {
        let mut start = 0;
        while start < shortest.len() && Instant::now() < end {
            let mut shorter = shortest.clone();
            shorter.drain(start..(start + chunk).min(shortest.len()));
            match fails(&shorter) {
                Some(reason) => (shortest, why) = (shorter, reason),
                None => start += chunk,
            }
        }
        chunk /= 2;
    }
    Some((shortest, why))
}

fn tell_within(patience: Duration, url: &str, prefix: &str, story: &[Operation]) -> Result<(), String> {
    let mut memory = Side::new("memory", &format!("memory://{prefix}"), prefix);
    let mut rabbit = Side::new("RabbitMQ", url, prefix);
    let is_verbose = std::env::var("KOMBU_DOUBLE_VERBOSE").is_ok();
    let mut told = Vec::new();
    let mut difference = Ok(());
    // Those that may be there: to look at one that is not costs a channel.
    let mut queues = BTreeSet::new();
    for operation in story {
        if let Operation::DeclareQueue { queue, .. } = operation {
            queues.insert(*queue);
        }
        let answers = [memory.perform(operation), rabbit.perform(operation)];
        let line = format!("{operation:?} -> {}", answers[0]);
        if is_verbose {
            println!("{line}");
        }
        told.push(line);
        let agreed = if answers[0] == answers[1] {
            agree(patience, &mut memory, &mut rabbit, &mut queues)
        } else {
            Err(format!("memory answers     {}\n  RabbitMQ answers   {}", answers[0], answers[1]))
        };
        if let Err(why) = agreed {
            difference = Err(format!("{why}\n after\n  {}", told.join("\n  ")));
            break;
        }
    }
    memory.clean_up();
    rabbit.clean_up();
    difference
}

/// Waits until both have the same messages ready, the same consumers, and have handed out the same.
fn agree(patience: Duration, memory: &mut Side, rabbit: &mut Side, queues: &mut BTreeSet<usize>) -> Result<(), String> {
    let heard = |side: &Side| side.lanes.iter().map(|lane| lane.heard(&side.names)).collect::<Vec<_>>();
    let end = Instant::now() + patience;
    loop {
        let want = (memory.known(queues), heard(memory));
        let got = (rabbit.known(queues), heard(rabbit));
        if want == got {
            let missing: Vec<_> = queues.iter().zip(want.0).filter(|(_, known)| *known == Known::Missing).collect();
            let missing: Vec<_> = missing.into_iter().map(|(queue, _)| *queue).collect();
            queues.retain(|queue| !missing.contains(queue));
            break;
        }
        let differs = |number: usize| {
            format!("delivers on lane {number}: memory {:#?}\n  RabbitMQ {:#?}\n", want.1[number], got.1[number])
        };
        if Instant::now() > end {
            let lanes: String = (0..want.1.len()).filter(|lane| want.1[*lane] != got.1[*lane]).map(differs).collect();
            return Err(format!(
                "queues {queues:?} (ready, consumers): memory {:?}\n  RabbitMQ {:?}\n  {lanes}",
                want.0, got.0
            ));
        }
        rabbit.turn();
    }
    if std::env::var("KOMBU_DOUBLE_VERBOSE").is_ok() {
        heard(memory).into_iter().flatten().for_each(|heard| println!("    {heard}"));
    }
    memory.lanes.iter_mut().chain(&mut rabbit.lanes).for_each(crate::lane::Lane::take);
    Ok(())
}
