//! Routes that were found before.

use std::hash::{BuildHasher, Hasher};

use kombu_core::ShortStr;

use crate::map::Set;
use crate::queue::QueueKey;

/// Where a message goes: each queue once.
#[derive(Debug, Default)]
pub(crate) struct Route(Vec<QueueKey>);

impl Route {
    /// Takes queues in any number and drops repeats.
    pub(crate) fn new(mut queues: Vec<QueueKey>) -> Self {
        if queues.len() > 16 {
            let mut seen = Set::with_capacity_and_hasher(queues.len(), Default::default());
            queues.retain(|queue| seen.insert(*queue));
        } else {
            let mut kept = 0;
            for index in 0..queues.len() {
                let queue = queues[index];
                if !queues[..kept].contains(&queue) {
                    queues[kept] = queue;
                    kept += 1;
                }
            }
            queues.truncate(kept);
        }
        Route(queues)
    }

    #[inline]
    pub(crate) fn queues(&self) -> &[QueueKey] {
        &self.0
    }
}

/// Remembers the routes of the addresses published to lately, until the topology changes.
///
/// Each address has one place, which another with the same hash may take. So the cache needs no upkeep and is bounded, whatever is
/// published.
pub(crate) struct RouteCache {
    places: Vec<Option<Place>>,
    hasher: foldhash::fast::RandomState,
    /// Counts the changes of the topology: a route found before the last one is void.
    generation: u64,
    /// The place found last: who publishes to one address again and again need not hash it.
    last: usize,
}

struct Place {
    exchange: ShortStr,
    routing_key: ShortStr,
    generation: u64,
    route: Route,
}

/// A power of two.
const PLACES: usize = 1024;

/// The place, behind all others, of a route that holds for one message only.
const ONCE: usize = PLACES;

impl RouteCache {
    pub(crate) fn new() -> Self {
        RouteCache { places: Vec::new(), hasher: Default::default(), generation: 0, last: 0 }
    }

    /// Voids every route: the topology changed.
    pub(crate) fn clear(&mut self) {
        self.generation += 1;
    }

    /// Returns the place of an address, and whether its route is there.
    #[inline]
    pub(crate) fn find(&mut self, exchange: &ShortStr, routing_key: &ShortStr) -> (usize, bool) {
        if self.holds(self.last, exchange, routing_key) {
            return (self.last, true);
        }
        let mut hasher = self.hasher.build_hasher();
        hasher.write(exchange.as_bytes());
        hasher.write(routing_key.as_bytes());
        self.last = hasher.finish() as usize % PLACES;
        (self.last, self.holds(self.last, exchange, routing_key))
    }

    #[inline]
    fn holds(&self, place: usize, exchange: &ShortStr, routing_key: &ShortStr) -> bool {
        self.places.get(place).and_then(Option::as_ref).is_some_and(|place| {
            place.generation == self.generation && place.routing_key == *routing_key && place.exchange == *exchange
        })
    }

    /// Remembers a route at the place of its address.
    pub(crate) fn put(&mut self, index: usize, exchange: ShortStr, routing_key: ShortStr, route: Route) {
        if self.places.is_empty() {
            self.places.resize_with(ONCE + 1, || None);
        }
        self.places[index] = Some(Place { exchange, routing_key, generation: self.generation, route });
    }

    /// Holds a route that must not be found again, for it depends on more than the address; returns its place.
    pub(crate) fn put_once(&mut self, route: Route) -> usize {
        self.put(ONCE, ShortStr::default(), ShortStr::default(), route);
        ONCE
    }

    /// Returns the route at a place [found](RouteCache::find) or [filled](RouteCache::put).
    #[inline]
    pub(crate) fn at(&self, index: usize) -> &[QueueKey] {
        self.places.get(index).and_then(Option::as_ref).map_or(&[], |place| place.route.queues())
    }
}
