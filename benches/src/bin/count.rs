//! Runs one workload: `count NAME N`. `scripts/budget` runs it under valgrind, which counts its instructions.
//!
//! Without arguments it prints the names of the workloads and what they do.
#![allow(clippy::expect_used, reason = "a program that cannot measure should stop")]

use kombu_benches::workload::{WORKLOADS, Workload};

fn main() {
    let mut arguments = std::env::args().skip(1);
    let Some(name) = arguments.next() else {
        WORKLOADS.iter().for_each(|workload| println!("{}\t{}", workload.name, workload.about));
        return;
    };
    let count = arguments.next().and_then(|text| text.parse().ok()).expect("usage: count NAME N");
    Workload::named(&name).expect("a name from `count` without arguments").run(count);
}
