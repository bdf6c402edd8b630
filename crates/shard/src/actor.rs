//! The office's shell: an actix actor that hears of frames, landings, leadership and time, and does what the office says.
//!
//! All actors of a node's shards run on one thread, beside the node's gRPC server: a frame crosses no thread between the
//! socket and the log.

use std::sync::Arc;
use std::time::Duration;

use actix::{
    Actor, ActorContext, ActorFutureExt, Addr, AsyncContext, Context, Handler, Message,
    ResponseFuture, WrapFuture,
};
use bytes::Bytes;
use consensus::{Leadership, Mail, Replica};
use hashbrown::HashMap;
use ledger::Shards;
use tokio::sync::mpsc;
use wire::proto::cluster::{Frame, FrameAnswer};

use crate::account::{AccountActor, Admit, Enqueue, Room};
use crate::desk::SessionId;
use crate::mail::Carrier;
use crate::meter::Meter;
use crate::office::{Deed, Office, Ways};

/// How often deadlines and timers are looked at. A late look delays a notice, never a decision.
const TICK: Duration = Duration::from_millis(20);

/// Messages that may wait for the shard: frames of all its gateways' streams, each of which has a bound of its own.
const MAILBOX_MAX: usize = 16_384;

/// Where the other nodes' doors are, as the cluster changes.
pub type Addresses = consensus::AddressBook;

/// What the shards of a node share.
#[derive(Clone)]
pub struct Surroundings {
    /// Where the other nodes' doors are.
    pub addresses: Addresses,
    /// Where letters to other shards go.
    pub mail: Mail,
    /// The node's shards.
    pub shards: crate::service::Shards,
}

/// One shard on this node.
pub struct Shard {
    office: Office,
    replica: Arc<Replica>,
    accounts: HashMap<u128, Addr<AccountActor>>,
}

impl Shard {
    /// Starts a shard's actor on the current arbiter.
    ///
    /// # Panics
    /// Outside an actix system.
    #[must_use]
    pub fn start(
        replica: Arc<Replica>,
        place: (Shards, u16),
        around: &Surroundings,
        meter: Meter,
    ) -> Addr<Self> {
        let ways = Ways {
            addresses: around.addresses.clone(),
            carrier: Carrier::of_node(around.mail.clone(), around.shards.clone()),
        };
        let office = Office::new(Arc::clone(&replica), place, ways, meter);
        Actor::start(Self { office, replica, accounts: HashMap::new() })
    }

    fn perform(&mut self, deeds: Vec<Deed>, context: &mut Context<Self>) {
        for deed in deeds {
            match deed {
                Deed::Work(work) => {
                    let ends = work.into_actor(self).map(|done, shard, context| {
                        let deeds = shard.office.done(done);
                        shard.perform(deeds, context);
                    });
                    context.spawn(ends);
                }
                Deed::Wait { account, orders, reign } => {
                    let shard = context.address();
                    let actor = self
                        .accounts
                        .entry(account)
                        .or_insert_with(|| AccountActor::new(account, shard, reign).start());
                    actor.do_send(Enqueue(orders));
                }
                Deed::Room { account, orders, last } => {
                    if let Some(actor) = self.accounts.get(&account) {
                        actor.do_send(Room { orders, last });
                    }
                    if last {
                        self.accounts.remove(&account);
                    }
                }
                Deed::Forget => self.accounts.clear(),
            }
        }
    }
}

impl Actor for Shard {
    type Context = Context<Self>;

    fn started(&mut self, context: &mut Self::Context) {
        context.set_mailbox_capacity(MAILBOX_MAX);
        let mut leadership = self.replica.leadership();
        let address = context.address();
        actix::spawn(async move {
            loop {
                let now = *leadership.borrow_and_update();
                if address.send(Led(now)).await.is_err() {
                    break;
                }
                if leadership.changed().await.is_err() {
                    // The replica has ended: with its node, or because the node keeps it no more.
                    address.do_send(Ended);
                    break;
                }
            }
        });
        context.run_interval(TICK, |shard, context| {
            let deeds = shard.office.tick();
            shard.perform(deeds, context);
        });
    }
}

/// The leadership has changed.
#[derive(Message)]
#[rtype(result = "()")]
struct Led(Leadership);

impl Handler<Led> for Shard {
    type Result = ();

    fn handle(&mut self, Led(leadership): Led, context: &mut Self::Context) {
        let deeds = self.office.led_by(leadership);
        self.perform(deeds, context);
    }
}

/// There is no replica any more.
#[derive(Message)]
#[rtype(result = "()")]
struct Ended;

impl Handler<Ended> for Shard {
    type Result = ();

    fn handle(&mut self, _: Ended, context: &mut Self::Context) {
        let deeds = self.office.end();
        self.perform(deeds, context);
        context.stop();
    }
}

/// A gateway's stream has begun; answers go to `out`.
#[derive(Message)]
#[rtype(result = "()")]
pub(crate) struct Begin {
    pub(crate) session: SessionId,
    pub(crate) out: mpsc::Sender<FrameAnswer>,
}

impl Handler<Begin> for Shard {
    type Result = ();

    fn handle(&mut self, Begin { session, out }: Begin, _: &mut Self::Context) {
        self.office.begin_session(session, out);
    }
}

/// A gateway's stream has ended.
#[derive(Message)]
#[rtype(result = "()")]
pub(crate) struct End(pub(crate) SessionId);

impl Handler<End> for Shard {
    type Result = ();

    fn handle(&mut self, End(session): End, _: &mut Self::Context) {
        self.office.end_session(session);
    }
}

/// A frame has come: one message, however many requests.
#[derive(Message)]
#[rtype(result = "()")]
pub(crate) struct Execute {
    pub(crate) session: SessionId,
    pub(crate) frame: Frame,
}

impl Handler<Execute> for Shard {
    type Result = ();

    fn handle(&mut self, Execute { session, frame }: Execute, context: &mut Self::Context) {
        let deeds = self.office.execute(session, frame);
        self.perform(deeds, context);
    }
}

/// A letter has come from another shard.
#[derive(Message)]
#[rtype(result = "Bytes")]
pub(crate) struct Deliver(pub(crate) Bytes);

impl Handler<Deliver> for Shard {
    type Result = ResponseFuture<Bytes>;

    fn handle(&mut self, Deliver(letter): Deliver, context: &mut Self::Context) -> Self::Result {
        let (deeds, answer) = self.office.deliver(&letter);
        self.perform(deeds, context);
        answer
    }
}

impl Handler<Admit> for Shard {
    type Result = ();

    fn handle(&mut self, Admit { reign, orders }: Admit, context: &mut Self::Context) {
        let deeds = self.office.admit(reign, orders);
        self.perform(deeds, context);
    }
}

/// The node is being shut down: nothing new is taken.
#[derive(Message)]
#[rtype(result = "()")]
pub struct Drain;

impl Handler<Drain> for Shard {
    type Result = ();

    fn handle(&mut self, _: Drain, _: &mut Self::Context) {
        self.office.drain();
    }
}
