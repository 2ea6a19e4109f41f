//! Inside one process: published, delivered and acknowledged.

use kombu_benches::bodies::Bodies;
use kombu_benches::contest::{Side, hold};
use kombu_benches::memory::{one_thread, two_threads};

use crate::options::Options;
use crate::ruststream;

/// Measures and prints.
pub(crate) fn measure(options: &Options, bodies: &Bodies) {
    let (rounds, count) = (options.rounds, options.memory);
    hold(
        "memory: published, delivered and acknowledged on one thread",
        rounds,
        &mut [
            Side::new("ours, each body in memory of its own", || {
                one_thread("memory://", count, bodies, Bodies::copy_at)
            }),
            Side::new("ours, bodies shared", || one_thread("memory://", count, bodies, Bodies::at)),
            Side::new("RustStream 0.7.7, each body in memory of its own", || ruststream::one_thread(count, bodies)),
        ],
    );
    hold(
        "memory: the same on two threads",
        rounds,
        &mut [
            Side::new("ours, each body in memory of its own", || {
                two_threads("memory://", count, bodies, Bodies::copy_at)
            }),
            Side::new("ours, bodies shared", || two_threads("memory://", count, bodies, Bodies::at)),
            Side::new("RustStream 0.7.7, each body in memory of its own", || ruststream::two_threads(count, bodies)),
        ],
    );
}
