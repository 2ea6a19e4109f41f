//! Many binding keys at once.

use super::words::Words;
use crate::map::Map;

/// Finds which of many binding keys match a routing key, without looking at each.
///
/// A tree of words: the time to look up grows with the words of the routing key and the branches that match so far, not with the
/// number of binding keys, and never exponentially. `T` is what the keys lead to, such as a queue.
///
/// ```
/// use kombu_virtual::topic::TopicTable;
///
/// let mut table = TopicTable::new();
/// table.insert("orders.#", "all");
/// table.insert("orders.*.created", "new");
/// let mut found = Vec::new();
/// table.find("orders.eu.created", |name| found.push(*name));
/// found.sort();
/// assert_eq!(found, ["all", "new"]);
/// ```
#[derive(Debug)]
pub struct TopicTable<T> {
    nodes: Vec<Node<T>>,
    free: Vec<usize>,
    /// The nodes reached by the words so far, and those reached by one word more.
    reached: Vec<usize>,
    ahead: Vec<usize>,
    /// Numbers the steps of all look-ups, so that a node knows whether it is in `ahead` already.
    step: u64,
}

#[derive(Debug)]
struct Node<T> {
    words: Map<Box<str>, usize>,
    star: Option<usize>,
    hash: Option<usize>,
    is_hash: bool,
    values: Vec<T>,
    step: u64,
}

impl<T> Node<T> {
    fn new(is_hash: bool) -> Self {
        Node { words: Map::default(), star: None, hash: None, is_hash, values: Vec::new(), step: 0 }
    }

    fn child(&self, word: &str) -> Option<usize> {
        match word {
            "*" => self.star,
            "#" => self.hash,
            _ => self.words.get(word).copied(),
        }
    }

    fn is_bare(&self) -> bool {
        self.values.is_empty() && self.words.is_empty() && self.star.is_none() && self.hash.is_none()
    }
}

const ROOT: usize = 0;

impl<T> TopicTable<T> {
    /// Makes an empty table.
    pub fn new() -> Self {
        TopicTable { nodes: vec![Node::new(false)], free: Vec::new(), reached: Vec::new(), ahead: Vec::new(), step: 0 }
    }

    /// Says whether there is no binding key.
    pub fn is_empty(&self) -> bool {
        self.nodes[ROOT].is_bare()
    }

    /// Calls `visit` for what each matching binding key leads to, in no particular order; a value inserted under several matching
    /// keys comes once for each.
    ///
    /// Takes `&mut self` for buffers that it reuses: looking up allocates nothing once they have grown.
    pub fn find(&mut self, routing_key: &str, mut visit: impl FnMut(&T)) {
        self.reached.clear();
        self.step += 1;
        self.reach(ROOT);
        std::mem::swap(&mut self.reached, &mut self.ahead);
        for word in Words::of(routing_key) {
            self.step += 1;
            for index in 0..self.reached.len() {
                let node = self.reached[index];
                let Node { star, is_hash, .. } = self.nodes[node];
                if is_hash {
                    self.reach(node);
                }
                if let Some(child) = self.nodes[node].words.get(word).copied() {
                    self.reach(child);
                }
                if let Some(child) = star {
                    self.reach(child);
                }
            }
            self.reached.clear();
            std::mem::swap(&mut self.reached, &mut self.ahead);
        }
        for node in &self.reached {
            self.nodes[*node].values.iter().for_each(&mut visit);
        }
    }

    /// Puts `node` into `ahead`, with the `#` below it, which may stand for no word at all.
    fn reach(&mut self, mut node: usize) {
        loop {
            if std::mem::replace(&mut self.nodes[node].step, self.step) == self.step {
                return;
            }
            self.ahead.push(node);
            match self.nodes[node].hash {
                Some(hash) => node = hash,
                None => return,
            }
        }
    }

    fn grow(&mut self, parent: usize, word: &str) -> usize {
        if let Some(child) = self.nodes[parent].child(word) {
            return child;
        }
        let node = Node::new(word == "#");
        let child = match self.free.pop() {
            Some(index) => {
                self.nodes[index] = node;
                index
            }
            None => {
                self.nodes.push(node);
                self.nodes.len() - 1
            }
        };
        let parent = &mut self.nodes[parent];
        match word {
            "*" => parent.star = Some(child),
            "#" => parent.hash = Some(child),
            _ => drop(parent.words.insert(word.into(), child)),
        }
        child
    }

    fn cut(&mut self, parent: usize, word: &str) {
        let node = &mut self.nodes[parent];
        let child = match word {
            "*" => node.star.take(),
            "#" => node.hash.take(),
            _ => node.words.remove(word),
        };
        self.free.extend(child);
    }
}

impl<T: PartialEq> TopicTable<T> {
    /// Adds a binding key that leads to `value`; says whether that pair is new.
    pub fn insert(&mut self, binding_key: &str, value: T) -> bool {
        let node = Words::of(binding_key).fold(ROOT, |node, word| self.grow(node, word));
        let values = &mut self.nodes[node].values;
        let new = !values.contains(&value);
        if new {
            values.push(value);
        }
        new
    }

    /// Takes a binding key that leads to `value` out; says whether it was there.
    pub fn remove(&mut self, binding_key: &str, value: &T) -> bool {
        let mut path = Vec::new();
        let mut node = ROOT;
        for word in Words::of(binding_key) {
            let Some(child) = self.nodes[node].child(word) else { return false };
            path.push((node, word));
            node = child;
        }
        let values = &mut self.nodes[node].values;
        let Some(index) = values.iter().position(|other| other == value) else { return false };
        values.swap_remove(index);
        while let Some((parent, word)) = path.pop() {
            if !self.nodes[node].is_bare() {
                break;
            }
            self.cut(parent, word);
            node = parent;
        }
        true
    }
}

impl<T> Default for TopicTable<T> {
    fn default() -> Self {
        TopicTable::new()
    }
}
