//! The actor of a contended account: its place in the queue.
//!
//! What comes for an account that has too much in flight waits here, in a mailbox of its own, and goes on as room is made.
//! When nothing waits any more the actor ends. It holds no truth: losing it loses no money.

use std::collections::VecDeque;

use actix::{Actor, ActorContext, Addr, Context, Handler, Message};

use crate::actor::Shard;
use crate::places::{Order, WAITING_MAX};

/// The queue of a contended account.
pub(crate) struct AccountActor {
    account: u128,
    shard: Addr<Shard>,
    queue: VecDeque<Order>,
    reign: u64,
}

impl AccountActor {
    pub(crate) fn new(account: u128, shard: Addr<Shard>, reign: u64) -> Self {
        Self { account, shard, queue: VecDeque::new(), reign }
    }
}

impl Actor for AccountActor {
    type Context = Context<Self>;

    fn started(&mut self, context: &mut Self::Context) {
        // Each message carries a frame's worth of orders, and the desk bounds the orders: this bounds the messages.
        context.set_mailbox_capacity(usize::try_from(WAITING_MAX).unwrap_or(usize::MAX));
    }
}

/// More for a contended account.
#[derive(Message)]
#[rtype(result = "()")]
pub(crate) struct Enqueue(pub(crate) Vec<Order>);

impl Handler<Enqueue> for AccountActor {
    type Result = ();

    fn handle(&mut self, Enqueue(orders): Enqueue, _: &mut Self::Context) {
        self.queue.extend(orders);
    }
}

/// Room for some of those that wait; `last` when nothing waits behind them.
#[derive(Message)]
#[rtype(result = "()")]
pub(crate) struct Room {
    pub(crate) orders: u32,
    pub(crate) last: bool,
}

impl Handler<Room> for AccountActor {
    type Result = ();

    fn handle(&mut self, Room { orders, last }: Room, context: &mut Self::Context) {
        let count = usize::try_from(orders).unwrap_or(usize::MAX).min(self.queue.len());
        let orders: Vec<Order> = self.queue.drain(..count).collect();
        self.shard.do_send(Admit { reign: self.reign, orders });
        if last {
            assert!(self.queue.is_empty(), "the desk lost count of {:032x}", self.account);
            context.stop();
        }
    }
}

/// Orders that have waited and may be proposed now.
#[derive(Message)]
#[rtype(result = "()")]
pub(crate) struct Admit {
    pub(crate) reign: u64,
    pub(crate) orders: Vec<Order>,
}
