//! What may be under way on a connection.

use kombu_core::reply::ReplySender;
use kombu_core::{Result, ShortStr};
use redis::Value;

use crate::brpop::Waiting;
use crate::publish::Publishing;
use crate::settle::{Aside, Returning, Settling};
use crate::take::{Popped, Taking};

/// One request to the server, with what is needed to use its answer and to repeat it.
pub(crate) enum Request {
    /// Somebody waits for the answer itself. Sending it twice must have the effect of sending it once.
    Call(ReplySender<Result<Value>>),
    /// A publish.
    Publish(Box<Publishing>),
    /// Replicas or the disk are waited for.
    Wait,
    /// The binding table of an exchange, for the publishes that wait for read number `id`.
    Routes {
        /// The exchange.
        exchange: ShortStr,
        /// The number of the read.
        id: u64,
    },
    /// Messages are taken off lists.
    Take(Box<Taking>),
    /// What became of a take whose answer was lost is looked up.
    Recover(Box<Taking>),
    /// A message that a waiter popped is recorded.
    Record(Box<Popped>),
    /// Messages are forgotten.
    Settle(Box<Settling>),
    /// Messages are given back.
    Return(Box<Returning>),
    /// A message that cannot be read is moved away.
    SetAside(Box<Aside>),
    /// The blocking pop.
    Brpop(Waiting),
    /// The blocking pop is woken.
    Unblock,
    /// An element that was popped for nobody goes back. Its bytes are in the pipeline.
    GiveBack,
    /// Done without anybody waiting; the word is for the log.
    Quiet(&'static str),
}
