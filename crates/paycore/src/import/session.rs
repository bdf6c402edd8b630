//! The sink that is a cluster: one session of the SDK.

use std::time::Duration;

use client::{Client, Error, Money, Posted, Request, Session};
use tokio::time::timeout;

use super::sink::{Order, PaymentSink, Unheard, Verdict, What};

/// Sends orders over one session, which keeps many frames under way, and opens its stream anew when it breaks.
#[derive(Debug)]
pub(crate) struct SessionSink {
    session: Session,
}

impl SessionSink {
    /// A sink over a connection.
    pub(crate) fn new(client: &Client) -> Self {
        Self { session: client.session() }
    }
}

impl PaymentSink for SessionSink {
    async fn submit(&self, orders: &[Order], wait: Duration) -> Vec<Verdict> {
        let requests: Vec<Request> = orders.iter().map(request).collect();
        let sent = async { Ok::<_, Error>(self.session.send(&requests).await?.await) };
        match timeout(wait, sent).await {
            Ok(Ok(results)) => results.into_iter().map(verdict).collect(),
            Ok(Err(error)) => vec![verdict(Err(error)); orders.len()],
            Err(_) => {
                let message = "no answer came in time".to_owned();
                vec![verdict(Err(Error::Unknown { message })); orders.len()]
            }
        }
    }
}

fn request(order: &Order) -> Request {
    let request = match order.what {
        What::Open { account, currency, opening } => {
            let open = Request::open_account(currency).with_account(account);
            match opening {
                Some(amount) => open.with_opening(amount),
                None => open,
            }
        }
        What::Pay { debit, credit, amount, currency, .. } => {
            Request::transfer(debit, credit, Money { amount, currency })
        }
    };
    request.with_key(&order.key)
}

fn verdict(result: Result<Posted, Error>) -> Verdict {
    let error = match result {
        Ok(posted) => return Verdict::Posted { replayed: posted.replayed },
        Err(error) => error,
    };
    let retryable = error.is_retryable();
    let unheard = |code: String, message: String, maybe_done: bool| {
        Verdict::Unheard(Unheard { code, message, maybe_done, retryable })
    };
    match error {
        Error::Rejected { code, message, .. } => Verdict::Rejected { code, message },
        Error::NotProposed { code, message, .. } | Error::Refused { code, message, .. } => {
            unheard(code, message, false)
        }
        Error::NotConnected { message } => unheard("NO_CONNECTION".to_owned(), message, false),
        Error::Unknown { message } => unheard("OUTCOME_UNKNOWN".to_owned(), message, true),
        Error::Unreadable(what) => {
            let message = format!("the answer's {what} cannot be read");
            unheard("OUTCOME_UNKNOWN".to_owned(), message, true)
        }
    }
}

#[cfg(test)]
mod tests {
    use ledger::{AccountId, Amount, Currency};

    use super::*;

    #[test]
    fn an_order_is_sent_under_its_own_key() {
        let (debit, credit) = (AccountId::from_u128(1), AccountId::from_u128(2));
        let (amount, currency) = (Amount::from_minor(5).unwrap(), Currency::CNY);
        let pay = What::Pay { debit, credit, amount, currency, line: 1, period: 1 };
        let wanted = Request::transfer(debit, credit, Money { amount, currency }).with_key("k");
        assert_eq!(request(&Order { key: "k".to_owned(), what: pay }), wanted);
        let open = What::Open { account: debit, currency, opening: Some(amount) };
        let wanted =
            Request::open_account(currency).with_account(debit).with_opening(amount).with_key("k");
        assert_eq!(request(&Order { key: "k".to_owned(), what: open }), wanted);
    }

    #[test]
    fn nothing_that_may_have_happened_is_told_as_if_it_had_not() {
        let message = String::new;
        let unknown = verdict(Err(Error::Unknown { message: message() }));
        assert!(
            matches!(&unknown, Verdict::Unheard(unheard) if unheard.maybe_done && unheard.retryable)
        );
        let refused = Error::Refused {
            code: "INVALID_FIELD".into(),
            message: message(),
            violations: Vec::new(),
        };
        let refused = verdict(Err(refused));
        assert!(
            matches!(&refused, Verdict::Unheard(unheard) if !unheard.maybe_done && !unheard.retryable)
        );
        let not_connected = verdict(Err(Error::NotConnected { message: message() }));
        assert!(
            matches!(&not_connected, Verdict::Unheard(unheard) if !unheard.maybe_done && unheard.retryable)
        );
    }
}
