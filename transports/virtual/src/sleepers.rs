//! The hubs that wake the broker.

use kombu_core::hub::{HubHandle, HubId};

use crate::moment::Moment;

/// The hubs with which connections are registered, and until when each sleeps for the broker's sake.
#[derive(Default)]
pub(crate) struct Sleepers(Vec<Sleeper>);

struct Sleeper {
    hub: HubHandle,
    connections: usize,
    wakes: Option<Moment>,
}

impl Sleepers {
    pub(crate) fn join(&mut self, hub: HubHandle) {
        match self.0.iter_mut().find(|sleeper| sleeper.hub.id() == hub.id()) {
            Some(sleeper) => sleeper.connections += 1,
            None => self.0.push(Sleeper { hub, connections: 1, wakes: None }),
        }
    }

    pub(crate) fn leave(&mut self, hub: HubId) {
        for sleeper in self.0.iter_mut().filter(|sleeper| sleeper.hub.id() == hub) {
            sleeper.connections -= 1;
        }
        self.0.retain(|sleeper| sleeper.connections > 0);
    }

    /// Notes that a time has come about which the broker must know; returns the hubs that would sleep longer.
    pub(crate) fn sleep_until(&mut self, when: Moment) -> Vec<HubHandle> {
        let late = |sleeper: &&mut Sleeper| !sleeper.hub.is_closed() && sleeper.wakes.is_none_or(|wakes| wakes > when);
        let note = |sleeper: &mut Sleeper| {
            sleeper.wakes = Some(when);
            sleeper.hub.clone()
        };
        self.0.iter_mut().filter(late).map(note).collect()
    }

    /// Notes that a hub slept until `when`. One that was set to wake earlier meanwhile, still does.
    pub(crate) fn woken(&mut self, hub: HubId, when: Moment) {
        for sleeper in self.0.iter_mut().filter(|sleeper| sleeper.hub.id() == hub && sleeper.wakes == Some(when)) {
            sleeper.wakes = None;
        }
    }
}
