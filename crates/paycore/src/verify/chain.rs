//! Every line of a statement continues the one before.
//!
//! A statement is read newest first. Each line says the balance after it, so the line before it must say that balance
//! less what the newer one did. The walk ends at the account's opening balance.

use super::facts::{Line, TransferNumber};

/// One account's statement, walked from its newest line to its oldest.
#[derive(Debug, Default)]
pub(crate) struct Chain {
    newest: Option<i128>,
    /// What the next older line must leave as the balance.
    must_be: Option<i128>,
    older_than: Option<TransferNumber>,
}

impl Chain {
    /// Takes the next older line, with the balance after it. Says what is wrong with it.
    pub(crate) fn line(
        &mut self,
        transfer: TransferNumber,
        line: &Line,
        balance: i128,
    ) -> Result<(), String> {
        let must_be = self.must_be;
        let older_than = self.older_than;
        self.newest = self.newest.or(Some(balance));
        self.must_be = Some(balance.saturating_sub(line.change()));
        self.older_than = Some(transfer);
        if must_be.is_some_and(|must_be| must_be != balance) {
            return Err(format!(
                "account {}: {} leaves {balance}, the next line begins with {must_be:?}",
                line.account,
                transfer.unpack(),
            ));
        }
        // Lines of one shard's log stand in the log's order.
        let out_of_order = older_than.is_some_and(|newer| {
            newer.unpack().shard == transfer.unpack().shard && newer < transfer
        });
        if out_of_order {
            return Err(format!("account {}: {} is out of order", line.account, transfer.unpack()));
        }
        Ok(())
    }

    /// The statement has been walked to its end, where the account had nothing. Returns its balance.
    pub(crate) fn finish(&self, account: u32) -> Result<i128, String> {
        match self.must_be {
            None | Some(0) => Ok(self.newest.unwrap_or(0)),
            Some(rest) => {
                Err(format!("account {account}: its first line begins with {rest}, not 0"))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn walk(lines: &[(u64, bool, u64, i128)]) -> Result<i128, String> {
        let mut chain = Chain::default();
        for &(transfer, is_debit, amount, balance) in lines {
            let line = Line { account: 1, counter: 2, amount, is_debit };
            chain.line(TransferNumber::from_u64(transfer), &line, balance)?;
        }
        chain.finish(1)
    }

    #[test]
    fn a_whole_statement_ends_where_nothing_was() {
        assert_eq!(walk(&[(9, true, 30, 80), (5, false, 10, 110), (1, false, 100, 100)]), Ok(80));
        assert_eq!(walk(&[]), Ok(0));
    }

    #[test]
    fn a_missing_line_is_seen_wherever_it_is() {
        assert!(walk(&[(9, true, 30, 80), (1, false, 100, 100)]).is_err(), "in the middle");
        assert!(walk(&[(9, true, 30, 80), (5, false, 10, 110)]).is_err(), "at the end");
    }

    #[test]
    fn a_line_out_of_order_is_seen() {
        assert!(walk(&[(5, true, 30, 70), (9, false, 100, 100)]).is_err());
    }
}
