//! What may be under way on a connection.

use std::sync::Arc;

use kombu_core::reply::ReplySender;
use kombu_core::{Result, ShortStr};
use redis::Value;

use crate::brpop::Waiting;
use crate::dying::Dying;
use crate::history::Asking;
use crate::popped::Popped;
use crate::publish::Publishing;
use crate::push_back::PushBack;
use crate::route_check::Checking;
use crate::routes::Reading;
use crate::settle::{Aside, Returning, Settling};
use crate::standing::Look;
use crate::take::Taking;

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
        /// What is read.
        reading: Box<Reading>,
        /// The number of the read.
        id: u64,
    },
    /// The binding table of an exchange, for publishes that may have missed a queue.
    Check(Box<Checking>),
    /// Messages are taken off lists.
    Take(Box<Taking>),
    /// What became of a take whose answer was lost is looked up.
    Recover(Box<Taking>),
    /// A message that a waiter popped is recorded.
    Record(Box<Popped>),
    /// A message that a waiter popped goes back unrecorded.
    PushBack(Box<PushBack>),
    /// Messages are forgotten.
    Settle(Box<Settling>),
    /// Messages are given back.
    Return(Box<Returning>),
    /// Messages leave their queues dead.
    Die(Box<Dying>),
    /// Queues are looked at: those where something is due, or some others.
    LookAfter {
        /// Whether it is those.
        is_due: bool,
    },
    /// Which queues have a policy, and when something is due.
    Policies,
    /// Whether the server has what was declared.
    History(Asking),
    /// A message that cannot be read is moved away.
    SetAside(Box<Aside>),
    /// The blocking pop.
    Brpop(Waiting),
    /// The blocking move from this list.
    Blmove(Arc<str>),
    /// The blocking pop is woken, or the blocking move from this list.
    Unblock(Option<Arc<str>>),
    /// A consumer of this name registers.
    Register(Arc<str>),
    /// The server is told of the inboxes for these lists.
    NoteInboxes {
        /// The consumer.
        name: Arc<str>,
        /// The lists.
        lists: Vec<Arc<str>>,
    },
    /// The lists of these queues are looked at, to be told when something is added to them.
    Watch(Vec<ShortStr>),
    /// Who consumes these queues, and whether they are there, is looked at, to be told when that changes.
    Look(Vec<Look>),
    /// The first of what was refused is tried again.
    Probe(Box<Request>),
    /// Done without anybody waiting; the word is for the log.
    Quiet(&'static str),
    /// A script that is run without anybody waiting.
    QuietScript {
        /// For the log.
        what: &'static str,
        /// The command.
        bytes: Vec<u8>,
    },
}
