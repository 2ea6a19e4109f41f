//! Other processes, and what they leave behind.

use std::time::Duration;

use kombu_core::Queue;

use crate::bench::Bench;
use crate::check::{Check, Group};
use crate::child::Holder;
use crate::failure::{During, Verdict, ensure, same};
use crate::lane::numbered;
use crate::need::Need::{Can, CrashRestore};

pub(super) const CHECKS: &[Check] = &[
    Check::new(Group::Lifecycle, "killed_consumer_loses_nothing", killed_consumer_loses_nothing)
        .promise("what a killed process held comes back within the declared lease, flagged")
        .steps("a child process holds 5 of 8 and is killed with SIGKILL; consume all")
        .reference("at once, redelivered")
        .spec("`Capabilities::restore_after_crash`")
        .needs(&[Can("multi_process"), CrashRestore]),
    Check::new(Group::Lifecycle, "two_processes_share_no_identity", two_processes_share_no_identity)
        .promise("two processes never pass for the same consumer: what one leaves behind is not taken from the other")
        .steps("two child processes hold 3 each of one queue; kill one; its 3 come back, the other's do not")
        .reference("3")
        .spec("AMQP 0-9-1 basic.consume; `Capabilities::restore_after_crash`")
        .needs(&[Can("multi_process"), CrashRestore]),
    Check::new(Group::Lifecycle, "no_leaks", no_leaks)
        .promise("connections, channels and consumers that come and go leave no descriptor and no thread behind")
        .steps("count both; 200 × connect, consume, close; 2 000 × open and close a channel; count again")
        .reference("nothing is left")
        .spec("`Transport::close`")
        .alone(),
];

fn lease(bench: &Bench) -> Verdict<Duration> {
    Ok(bench.capabilities()?.restore_after_crash.unwrap_or_default() + bench.patience())
}

fn killed_consumer_loses_nothing(bench: &Bench) -> Verdict {
    let lane = bench.channel()?;
    let queue = lane.queue("q")?;
    lane.fill(&queue, &numbered("", 0..8))?;
    let mut holder = Holder::start(bench, &queue, 5)?;
    holder.line(bench, "held")?;
    same("ready messages while the child holds its part", lane.ready(&queue)?, 3)?;
    holder.kill();
    // Fetched by a consumer: a transport may look after what dead processes left only while it consumes.
    let consumed = bench.channel()?.consume(&queue)?;
    let (mut came, mut flagged) = (Vec::new(), 0);
    while came.len() < 8 {
        let all = format!("what the killed process held, and the rest: {came:?} of 8 came");
        bench.wait_until_within(lease(bench)?, &all, &mut || consumed.sink.len() > 0)?;
        for delivery in consumed.sink.take() {
            flagged += usize::from(delivery.redelivered);
            came.push(crate::lane::body(&delivery));
            consumed.lane.ack(delivery.tag)?;
        }
    }
    came.sort_unstable();
    same("messages", came, numbered("", 0..8))?;
    if bench.can("redelivered")? {
        same("messages flagged as redelivered", flagged, 5)?;
    }
    same("messages left", consumed.fence()?.len(), 0)
}

fn two_processes_share_no_identity(bench: &Bench) -> Verdict {
    let lane = bench.channel()?;
    let queue = lane.queue("q")?;
    lane.fill(&queue, &numbered("", 0..6))?;
    let (mut one, other) = (Holder::start(bench, &queue, 3)?, Holder::start(bench, &queue, 3)?);
    one.line(bench, "held")?;
    other.line(bench, "held")?;
    same("ready messages while both hold theirs", lane.ready(&queue)?, 0)?;
    one.kill();
    let consumed = bench.channel()?.consume(&queue)?;
    let came = || consumed.sink.len() >= 3;
    bench.wait_until_within(lease(bench)?, "what the killed process held", &mut || came())?;
    same("deliveries of what the killed process held", consumed.expect(3)?.len(), 3)?;
    // The other lives, and keeps what it holds for longer than the dead one did.
    bench.pass(bench.capabilities()?.restore_after_crash.unwrap_or_default().min(bench.patience()))?;
    same("deliveries of what the other holds", consumed.fence()?.len(), 0)?;
    drop(other);
    Ok(())
}

/// Descriptors and threads of this process, where the operating system tells.
fn belongings() -> Option<(usize, usize)> {
    let count = |path: &str| std::fs::read_dir(path).ok().map(Iterator::count);
    Some((count("/proc/self/fd")?, count("/proc/self/task")?))
}

fn no_leaks(bench: &Bench) -> Verdict {
    let lane = bench.channel()?;
    let queue = lane.queue("q")?;
    let round = |number: usize| -> Verdict {
        let user = bench.user()?;
        let stream = user.answer(user.connection.consumer(Queue::new(&queue)).stream())?;
        drop(stream);
        user.answer(user.connection.close())?;
        let transport = bench.connect()?;
        let channel = bench.channel_on(&transport)?;
        channel.consume(&queue)?;
        bench.close(&transport).during(format!("round {number}"))
    };
    // What is made once per process is made now.
    for number in 0..3 {
        round(number)?;
    }
    let before = belongings();
    let (rounds, channels) = if bench.is_small() { (8, 20) } else { (200, 2000) };
    for number in 0..rounds {
        round(number)?;
    }
    let transport = bench.connect()?;
    for _ in 0..channels {
        bench.channel_on(&transport)?.close()?;
    }
    bench.close(&transport)?;
    let mut now = belongings();
    let is_back = |now: Option<(usize, usize)>| match (before, now) {
        // Another thread may be about to end, or have a file open for a moment.
        (Some(before), Some(now)) => now.0 <= before.0 + 3 && now.1 <= before.1 + 2,
        _ => true,
    };
    // A thread ends by the machine's time, whatever the check's clock says.
    let end = std::time::Instant::now() + if bench.is_small() { bench.patience() / 10 } else { bench.patience() };
    while !is_back(now) && std::time::Instant::now() < end {
        if !bench.turn()? {
            std::thread::sleep(Duration::from_millis(10));
        }
        now = belongings();
    }
    ensure(is_back(now), format!("(descriptors, threads) were {before:?} and are {now:?}"))?;
    if bench.can("topology_registry")? {
        bench.eventually("the consumers to go", || Ok(lane.passive(&queue)?.consumer_count == 0))?;
    }
    lane.put(&queue, "works")?;
    same("messages", lane.bodies(&queue)?, ["works"])
}
