//! The server, the processes around it, and what happens to them.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use kombu_brokers::{
    ChildProcess, Direction, FaultProxy, PATIENCE, PythonKombu, PythonProcess, RedisOptions, RedisServer, eventually,
};
use serde_json::json;

use crate::dice::Dice;
use crate::fault::Fault;
use crate::journal::Journal;
use crate::worker::{LEASE, QUEUE};

/// A server, a proxy in front of it, publishers and consumers.
pub(crate) struct World {
    name: &'static str,
    seed: u64,
    dice: Dice,
    server: RedisServer,
    proxy: FaultProxy,
    journals: PathBuf,
    publishers: Vec<ChildProcess>,
    consumers: Vec<ChildProcess>,
    python: Vec<PythonProcess>,
    /// Consumers that stand still, and until when.
    frozen: Vec<(usize, Instant)>,
    /// Until when the proxy does something else than pass.
    disturbed_until: Option<Instant>,
    started: usize,
    happened: BTreeMap<Fault, u32>,
}

impl World {
    /// Starts a server that keeps everything if `is_durable`, Rust processes, and `python` workers.
    pub(crate) fn start(name: &'static str, is_durable: bool, python: usize) -> Self {
        let seed = crate::seed();
        println!("chaos {name}: KOMBU_CHAOS_SEED={seed}");
        let options = RedisServer::options();
        // What is written down is rewritten every now and then, also while it is killed: else each start reads all of it again.
        let durable = |options: RedisOptions| options.appendonly().args(["--auto-aof-rewrite-min-size", "1mb"]);
        let server = if is_durable { durable(options).start() } else { options.start() };
        let journals = server.folder().join("journals");
        std::fs::create_dir(&journals).unwrap();
        let mut world = World {
            name,
            seed,
            dice: Dice::new(seed),
            proxy: FaultProxy::start(server.addr()),
            server,
            journals,
            publishers: Vec::new(),
            consumers: Vec::new(),
            python: Vec::new(),
            frozen: Vec::new(),
            disturbed_until: None,
            started: 0,
            happened: BTreeMap::new(),
        };
        for _ in 0..python {
            let worker = world.start_python();
            world.python.push(worker);
        }
        for _ in 0..CONSUMERS {
            let consumer = world.start_rust("consumer");
            world.consumers.push(consumer);
        }
        for consumer in &mut world.consumers {
            assert_eq!(consumer.recv_json(4 * PATIENCE)["ready"], true);
        }
        for _ in 0..PUBLISHERS {
            let publisher = world.start_rust("publisher");
            world.publishers.push(publisher);
        }
        world
    }

    /// Lets things go wrong for a while, then looks whether everything is as it should be.
    pub(crate) fn run(mut self, faults: &[(u64, Fault)]) {
        let end = Instant::now() + crate::duration();
        while Instant::now() < end {
            std::thread::sleep(Duration::from_millis(20 + self.dice.roll(250)));
            self.wake_up(Instant::now());
            let fault = self.dice.choose(faults);
            *self.happened.entry(fault).or_default() += 1;
            self.happen(fault);
        }
        self.calm_down();
        self.drain();
        self.leave();
    }

    fn happen(&mut self, fault: Fault) {
        match fault {
            Fault::KillConsumer => {
                let index = self.dice.index(CONSUMERS);
                self.frozen.retain(|(frozen, _)| *frozen != index);
                self.consumers[index].kill();
                self.consumers[index] = self.start_rust("consumer");
            }
            Fault::KillPublisher => {
                let index = self.dice.index(PUBLISHERS);
                self.publishers[index].kill();
                self.publishers[index] = self.start_rust("publisher");
            }
            Fault::LeaveGracefully => {
                let index = self.dice.index(CONSUMERS);
                self.consumers[index].close_stdin();
                if self.frozen.iter().any(|(frozen, _)| *frozen == index) {
                    self.consumers[index].resume();
                    self.frozen.retain(|(frozen, _)| *frozen != index);
                }
                // It ends in good order, or gives up after its time-outs if the server is not to be reached.
                let deadline = Instant::now() + 4 * PATIENCE;
                while self.consumers[index].try_wait(Duration::from_millis(50)).is_none() {
                    assert!(Instant::now() < deadline, "{}: a consumer does not end", self.context());
                    // What lasts for a while only does so meanwhile, too.
                    self.wake_up(Instant::now());
                }
                self.consumers[index] = self.start_rust("consumer");
            }
            Fault::Freeze | Fault::Stutter => {
                let index = self.dice.index(CONSUMERS);
                let longest = if fault == Fault::Freeze { LEASE + Duration::from_secs(2) } else { LEASE / 8 };
                self.consumers[index].pause();
                self.frozen.push((index, Instant::now() + longest));
            }
            Fault::Cut => self.proxy.cut(),
            Fault::CutInTheMiddle => {
                let direction = self.direction();
                self.proxy.cut_after(direction, 1 + self.dice.roll(4000));
                self.disturb(Duration::from_secs(1));
            }
            Fault::Blackhole => {
                match self.dice.roll(3) {
                    0 => self.proxy.blackhole_both(),
                    1 => self.proxy.blackhole(Direction::ToServer),
                    _ => self.proxy.blackhole(Direction::ToClient),
                }
                let time = Duration::from_millis(200 + self.dice.roll(2500));
                self.disturb(time);
            }
            Fault::Trickle => {
                let direction = self.direction();
                self.proxy.trickle(direction, Duration::ZERO);
                self.disturb(Duration::from_millis(500));
            }
            Fault::KillClients => {
                let kind = ["normal", "pubsub"][self.dice.index(2)];
                self.server.command(&["CLIENT", "KILL", "TYPE", kind, "SKIPME", "yes"]);
            }
            Fault::ForgetScripts => {
                self.server.command(&["SCRIPT", "FLUSH"]);
            }
            Fault::RestartServer => {
                self.server.kill();
                std::thread::sleep(Duration::from_millis(self.dice.roll(200)));
                self.server.restart();
            }
        }
    }

    fn direction(&mut self) -> Direction {
        Direction::BOTH[self.dice.index(2)]
    }

    fn disturb(&mut self, time: Duration) {
        self.disturbed_until = Some(Instant::now() + time);
    }

    /// Ends what lasts only for a while.
    fn wake_up(&mut self, now: Instant) {
        for (index, until) in std::mem::take(&mut self.frozen) {
            if until <= now {
                self.consumers[index].resume();
            } else {
                self.frozen.push((index, until));
            }
        }
        if self.disturbed_until.is_some_and(|until| until <= now) {
            self.disturbed_until = None;
            self.proxy.pass();
        }
    }

    /// Ends everything that goes wrong, and the publishing.
    fn calm_down(&mut self) {
        self.proxy.pass();
        for (index, _) in std::mem::take(&mut self.frozen) {
            self.consumers[index].resume();
        }
        for publisher in &mut self.publishers {
            publisher.close_stdin();
        }
        let context = self.context();
        for publisher in &mut self.publishers {
            let done = publisher.try_recv_json(6 * PATIENCE);
            let stderr = publisher.stderr();
            assert!(done.is_some_and(|done| done["done"] == true), "{context}: a publisher does not end: {stderr}");
        }
    }

    /// Waits until everything confirmed is acknowledged and nothing is left.
    fn drain(&self) {
        let is_empty = || self.server.command(&["EXISTS", QUEUE, "unacked", "unacked_index"]).int() == 0;
        let came = eventually(6 * PATIENCE, || is_empty() && Journal::read(&self.journals).0.missing().is_empty());
        let (journal, counts) = Journal::read(&self.journals);
        assert!(
            came,
            "{}: {counts:?}, missing {:?}, on the server {:?}",
            self.context(),
            journal.missing(),
            self.server.keys()
        );
    }

    /// Ends the consumers, and looks at what they did and at what is left.
    fn leave(mut self) {
        let context = self.context();
        if crate::is_long() {
            let forgotten = || self.server.command(&["EXISTS", "_kombu.rs.dead"]).int() == 0;
            assert!(eventually(8 * PATIENCE, forgotten), "{context}: the dead are not forgotten");
        }
        for consumer in &mut self.consumers {
            consumer.close_stdin();
        }
        for consumer in &mut self.consumers {
            let done = consumer.try_recv_json(4 * PATIENCE);
            let done =
                done.and_then(|said| if said["ready"] == true { consumer.try_recv_json(PATIENCE) } else { Some(said) });
            let stderr = consumer.stderr();
            assert!(done.is_some_and(|done| done["done"] == true), "{context}: a consumer does not end: {stderr}");
        }
        for worker in &mut self.python {
            worker.process().close_stdin();
            assert_eq!(worker.recv(4 * PATIENCE)["done"], true, "{context}: a Python worker does not end");
        }
        let (journal, counts) = Journal::read(&self.journals);
        let faults = journal.faults();
        assert!(faults.is_empty() && journal.missing().is_empty(), "{context}: {faults:#?} {:?}", journal.missing());
        assert!(counts.confirmed > 100 && counts.received > counts.by_python, "{context}: {counts:?}");
        assert_eq!(self.python.is_empty(), counts.by_python == 0, "{context}: {counts:?}");
        let unknown: Vec<_> = self.server.keys().into_iter().filter(|key| !self.may_stay(key)).collect();
        assert!(unknown.is_empty(), "{context}: left behind {unknown:?}");
        println!("{context}: {counts:?}, {:?}", self.happened);
    }

    /// Says whether a key is one of those that are left when everybody has gone.
    fn may_stay(&self, key: &str) -> bool {
        // Those that were killed are remembered for a minute, so that nothing waits on their behalf when they are forgotten; and
        // forgotten by whoever lives then, which is nobody in the short form.
        let is_of_the_dead = ["_kombu.rs.consumer.", "_kombu.rs.consumers_of."].iter().any(|own| key.starts_with(own))
            || ["_kombu.rs.consumers", "_kombu.rs.dead"].contains(&key);
        // The lock of a sweep expires with whoever held it.
        let expires = || self.server.command(&["PTTL", key]).int() > 0;
        key.starts_with("_kombu.binding")
            || key == "_kombu.rs.history"
            || is_of_the_dead && !crate::is_long()
            || key == "unacked_mutex" && (expires() || self.server.command(&["EXISTS", key]).int() == 0)
    }

    fn start_rust(&mut self, what: &str) -> ChildProcess {
        self.started += 1;
        let by_proxy = self.dice.roll(2) == 0;
        let url = if by_proxy { self.server.url_at(self.proxy.addr()) } else { self.server.url() };
        let wake = ["auto", "blmove", "tracking"][self.dice.index(3)];
        let mut child = ChildProcess::this_test(what).spawn();
        let journal = self.journals.join(format!("{what}-{}", self.started));
        let name = format!("{what}-{}", self.started);
        let seed = self.dice.roll(u64::from(u32::MAX));
        child.send_json(&json!({"url": url, "wake": wake, "journal": journal, "name": name, "seed": seed}));
        child
    }

    fn start_python(&mut self) -> PythonProcess {
        self.started += 1;
        let journal = self.journals.join(format!("python-{}", self.started));
        let script = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("python/chaos_worker.py");
        let args = [self.server.url(), QUEUE.to_owned(), journal.to_string_lossy().into_owned()];
        let args: Vec<&str> = args.iter().map(String::as_str).collect();
        let mut worker = PythonKombu::shared().spawn(script, &args);
        assert_eq!(worker.recv(4 * PATIENCE)["ready"], true);
        worker
    }

    fn context(&self) -> String {
        format!("chaos {} (KOMBU_CHAOS_SEED={})", self.name, self.seed)
    }
}

const CONSUMERS: usize = 4;
const PUBLISHERS: usize = 2;
