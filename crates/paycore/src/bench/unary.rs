//! The unary door: every caller has one call open at a time, and several callers share a connection.

use std::rc::Rc;

use prost::Message;

use super::answers::{Heard, PostedAnswer};
use super::grpc::{CallError, MethodHead, put_message};
use super::lane::{Lane, RECONNECT_AFTER};
use super::load::{Item, SharedLoad, Turn};
use super::template::Template;

/// The door.
pub(super) const PATH: &str = "/paycore.v1.Payments/Transfer";

/// One transfer's message takes so many bytes.
const MESSAGE_BYTES: usize = 192;

/// One caller: calls until there is nothing to ask any more.
pub(super) async fn run(load: SharedLoad, lane: Rc<Lane>, method: Rc<MethodHead>) {
    let template = Template::single();
    let clock = load.borrow().clock;
    loop {
        let turn = load.borrow_mut().take_ahead();
        match turn {
            Ok(item) => {
                clock.sleep_until_later(item.start).await;
                let heard = call(&load, &lane, &method, &template, item).await;
                let failed = matches!(heard, Heard::Failed { .. });
                load.borrow_mut().answered(item, &heard, clock.now());
                if failed {
                    // A gateway that refuses or is gone is not asked again at once.
                    tokio::time::sleep(RECONNECT_AFTER).await;
                }
            }
            Err(Turn::Wait(then)) => clock.sleep_until(then).await,
            Err(Turn::Send | Turn::Over) => {
                if load.borrow_mut().is_over() {
                    return;
                }
                // Others' calls are open; what becomes of them may have to be sent again.
                tokio::time::sleep(RECONNECT_AFTER).await;
            }
        }
    }
}

async fn call(
    load: &SharedLoad,
    lane: &Lane,
    method: &MethodHead,
    template: &Template,
    item: Item,
) -> Heard {
    let mut message = Vec::with_capacity(MESSAGE_BYTES);
    put_message(&mut message, |to| load.borrow().put(item.n, template, to));
    match lane.call(method, message.into()).await {
        Ok(answer) => PostedAnswer::decode(answer).map_or_else(|_| Heard::nothing(), Heard::from),
        Err(CallError::Status(status)) => Heard::status(&status),
        Err(CallError::Broken(_) | CallError::Nonsense(_)) => Heard::nothing(),
        Err(CallError::NotConnected(_)) => Heard::not_connected(),
    }
}
