//! What a check is.

use crate::bench::Bench;
use crate::failure::Verdict;
use crate::need::Need;

/// One promise of a transport or hub, and the function that finds out whether it is kept.
pub struct Check {
    pub(crate) name: &'static str,
    pub(crate) group: Group,
    pub(crate) promise: &'static str,
    pub(crate) steps: &'static str,
    pub(crate) reference: &'static str,
    pub(crate) spec: &'static str,
    pub(crate) needs: &'static [Need],
    pub(crate) is_alone: bool,
    pub(crate) run: fn(&Bench) -> Verdict,
}

/// What the checks are sorted by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Group {
    /// Exchanges, queues and bindings come and go.
    Declare,
    /// A message goes to the queues that AMQP says.
    Routing,
    /// A delivery is settled once.
    Settle,
    /// Windows, order and fairness.
    Flow,
    /// Time-to-live, limits and dead letters.
    Expiry,
    /// Consumers start and end.
    Consumers,
    /// What a publish carries, and what it is told.
    Publish,
    /// Closing, failing and coming back.
    Lifecycle,
    /// The event loop.
    Hub,
}

impl Group {
    /// Returns the name, as in `routing::topic_table`.
    pub fn name(self) -> &'static str {
        match self {
            Group::Declare => "declare",
            Group::Routing => "routing",
            Group::Settle => "settle",
            Group::Flow => "flow",
            Group::Expiry => "expiry",
            Group::Consumers => "consumers",
            Group::Publish => "publish",
            Group::Lifecycle => "lifecycle",
            Group::Hub => "hub",
        }
    }
}

impl Check {
    /// Makes the check `name` of `group`, which holds where `run` finds nothing wrong.
    pub(crate) const fn new(group: Group, name: &'static str, run: fn(&Bench) -> Verdict) -> Self {
        Check {
            name,
            group,
            promise: "",
            steps: "",
            reference: "RabbitMQ 3.10 does",
            spec: "",
            needs: &[],
            is_alone: false,
            run,
        }
    }

    /// Sets what is promised, in one sentence.
    pub(crate) const fn promise(mut self, promise: &'static str) -> Self {
        self.promise = promise;
        self
    }

    /// Sets what the check does.
    pub(crate) const fn steps(mut self, steps: &'static str) -> Self {
        self.steps = steps;
        self
    }

    /// Sets what the reference, RabbitMQ, does.
    pub(crate) const fn reference(mut self, reference: &'static str) -> Self {
        self.reference = reference;
        self
    }

    /// Sets where it is written.
    pub(crate) const fn spec(mut self, spec: &'static str) -> Self {
        self.spec = spec;
        self
    }

    /// Sets what the transport must declare, and the harness must offer, for the check to run.
    pub(crate) const fn needs(mut self, needs: &'static [Need]) -> Self {
        self.needs = needs;
        self
    }

    /// Lets no other check run meanwhile.
    pub(crate) const fn alone(mut self) -> Self {
        self.is_alone = true;
        self
    }

    /// Returns the name, without the group's.
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// Returns the group.
    pub fn group(&self) -> Group {
        self.group
    }

    /// Returns `group::name`.
    pub fn path(&self) -> String {
        format!("{}::{}", self.group.name(), self.name)
    }

    /// Returns what is promised, in one sentence.
    pub fn promise_text(&self) -> &'static str {
        self.promise
    }

    /// Returns promise, steps, reference behaviour and section of the specification, for people.
    pub fn explain(&self) -> String {
        let needs: Vec<_> = self.needs.iter().map(|need| need.to_string()).collect();
        let needs = if needs.is_empty() { "nothing: every transport must".to_owned() } else { needs.join(", ") };
        format!(
            "{}\n\n  promise    {}\n  steps      {}\n  reference  {}\n  spec       {}\n  needs      {needs}\n",
            self.path(),
            self.promise,
            self.steps,
            self.reference,
            self.spec,
        )
    }
}

impl std::fmt::Debug for Check {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Check({})", self.path())
    }
}
