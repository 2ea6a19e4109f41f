//! Prints how many allocations a workload makes: `allocations NAME N` prints those of N messages beyond those of start and end.
#![allow(clippy::expect_used, reason = "a program that cannot measure should stop")]

use std::alloc::System;

use kombu_benches::workload::Workload;
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [name, count] = &arguments[..] else { panic!("usage: allocations NAME N") };
    let count: u64 = count.parse().expect("N is a number");
    let workload = Workload::named(name).expect("a name from `count` without arguments");
    // What happens once in a process, such as the tables of lazily made statics, happens here.
    workload.run(count);
    let (less, more) = (allocations(workload, count), allocations(workload, 2 * count));
    println!("{}", more - less);
}

fn allocations(workload: &Workload, count: u64) -> i64 {
    let region = Region::new(ALLOCATOR);
    workload.run(count);
    let change = region.change();
    i64::try_from(change.allocations + change.reallocations).unwrap_or(i64::MAX)
}
