//! All checks, by group.

mod closing;
mod connecting;
mod consumers;
mod dead_letter;
mod declare;
mod descriptors;
mod entity_life;
mod expiry;
mod flow;
mod handlers;
mod loop_basics;
mod order;
mod payload;
mod processes;
mod publish;
mod routing;
mod settle;
mod settle_many;
mod sources;
mod timers;
mod topology;

use crate::check::Check;

/// Returns every check, in the order of the groups.
pub fn all() -> Vec<&'static Check> {
    let groups = [
        declare::CHECKS,
        topology::CHECKS,
        entity_life::CHECKS,
        routing::CHECKS,
        settle::CHECKS,
        settle_many::CHECKS,
        flow::CHECKS,
        order::CHECKS,
        expiry::CHECKS,
        dead_letter::CHECKS,
        consumers::CHECKS,
        handlers::CHECKS,
        publish::CHECKS,
        payload::CHECKS,
        closing::CHECKS,
        connecting::CHECKS,
        processes::CHECKS,
        loop_basics::CHECKS,
        timers::CHECKS,
        descriptors::CHECKS,
        sources::CHECKS,
    ];
    let mut all: Vec<&'static Check> = groups.into_iter().flatten().collect();
    all.sort_by_key(|check| check.group);
    all
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use kombu_core::Capabilities;

    use super::all;

    #[test]
    fn every_check_is_written_up_and_named_once() {
        let mut names = BTreeSet::new();
        for check in all() {
            assert!(names.insert(check.name), "{} is there twice", check.name);
            for (what, text) in [("promise", check.promise), ("steps", check.steps), ("reference", check.reference)] {
                assert!(!text.is_empty(), "{} has no {what}", check.name);
            }
            assert!(!check.promise.ends_with('.') && !check.promise.contains('|'), "{}", check.name);
        }
    }

    #[test]
    fn what_checks_need_exists() {
        let can = Capabilities::default();
        for check in all() {
            for need in check.needs {
                assert!(need.is_hook() || need.support(&can).is_some(), "{}: {need} is no capability", check.name);
            }
        }
    }
}
