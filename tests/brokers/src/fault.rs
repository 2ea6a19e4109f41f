//! What a fault proxy does to the bytes of one direction.

use std::time::Duration;

/// One of the two directions of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Direction {
    /// From the client to the server.
    ToServer,
    /// From the server to the client.
    ToClient,
}

impl Direction {
    /// Both directions.
    pub const BOTH: [Direction; 2] = [Direction::ToServer, Direction::ToClient];

    pub(crate) fn index(self) -> usize {
        match self {
            Direction::ToServer => 0,
            Direction::ToClient => 1,
        }
    }
}

/// The switch of one direction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// Bytes go through at once.
    Pass,
    /// Bytes are held.
    Blackhole,
    /// Bytes are held this long.
    Delay(Duration),
    /// Bytes go through one by one, with this pause after each.
    Trickle(Duration),
    /// This many more bytes go through, then the connection ends.
    CutAfter(u64),
}
