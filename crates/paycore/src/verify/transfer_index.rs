//! Transfer → the request whose caller was told its name.
//!
//! Transfers are named by batch and place, and a run's batches are full of its own requests, so an array in the order
//! of the log has hardly a gap: four bytes a request, and one look at a short sorted list per look-up.

use std::collections::BTreeMap;

use super::facts::{Ending, Requests, TransferNumber};

/// Whose each transfer is.
#[derive(Debug, Default)]
pub(crate) struct TransferIndex {
    /// Batches in the log's order, each with where its places begin in `owners`.
    batches: Vec<(u64, usize)>,
    /// For each place of each batch the request's number plus one; 0 where no caller was told.
    owners: Vec<u32>,
    /// Requests whose callers were told a name that another's was told too.
    pub(crate) shared: Vec<u64>,
}

impl TransferIndex {
    /// Collects what callers were told.
    pub(crate) fn of(requests: &impl Requests) -> Self {
        let mut places: BTreeMap<u64, u64> = BTreeMap::new();
        for transfer in told(requests).map(|(_, transfer)| transfer) {
            let needed = transfer.position().saturating_add(1);
            let known = places.entry(transfer.batch()).or_default();
            *known = needed.max(*known);
        }
        let mut index = Self::default();
        let mut end = 0_usize;
        for (batch, places) in places {
            index.batches.push((batch, end));
            end = end.saturating_add(usize::try_from(places).expect("a batch has few places"));
        }
        index.owners = vec![0; end];
        for (n, transfer) in told(requests) {
            let place = index.place(transfer).expect("room was made for it");
            let owner = index.owners.get_mut(place).expect("room was made for it");
            if *owner == 0 {
                *owner =
                    u32::try_from(n).ok().and_then(|n| n.checked_add(1)).expect("n fits 32 bits");
            } else {
                index.shared.push(n);
            }
        }
        index
    }

    /// Whose a transfer is.
    pub(crate) fn owner(&self, transfer: TransferNumber) -> Option<u64> {
        let owner = self.owners.get(self.place(transfer)?)?;
        owner.checked_sub(1).map(u64::from)
    }

    fn place(&self, transfer: TransferNumber) -> Option<usize> {
        let at = self.batches.binary_search_by_key(&transfer.batch(), |(batch, _)| *batch).ok()?;
        let (_, start) = self.batches.get(at)?;
        let end = at.checked_add(1).and_then(|next| self.batches.get(next));
        let end = end.map_or(self.owners.len(), |(_, end)| *end);
        let place = start.checked_add(usize::try_from(transfer.position()).ok()?)?;
        (place < end).then_some(place)
    }
}

fn told(requests: &impl Requests) -> impl Iterator<Item = (u64, TransferNumber)> {
    (0..requests.count()).filter_map(|n| match requests.ending(n) {
        Ending::Posted(transfer) => Some((n, transfer)),
        Ending::Rejected(_) | Ending::NotDone(_) | Ending::Unknown => None,
    })
}

#[cfg(test)]
mod tests {
    use ledger::TransferId;

    use super::super::facts::Wanted;
    use super::*;

    struct Told(Vec<Ending>);

    impl Requests for Told {
        fn count(&self) -> u64 {
            self.0.len() as u64
        }

        fn wanted(&self, _: u64) -> Wanted {
            Wanted { debit: 0, credit: 1, amount: 1 }
        }

        fn ending(&self, n: u64) -> Ending {
            self.0[usize::try_from(n).unwrap()]
        }
    }

    fn at(shard: u16, index: u64, position: u16) -> TransferNumber {
        TransferNumber::pack(TransferId { shard, index, position }).unwrap()
    }

    #[test]
    fn everyone_finds_their_own() {
        let names = [at(0, 7, 2), at(0, 7, 0), at(0, 9, 2_047), at(1, 7, 0)];
        let mut endings: Vec<_> = names.iter().map(|name| Ending::Posted(*name)).collect();
        endings.push(Ending::Rejected(0));
        let index = TransferIndex::of(&Told(endings));
        for (n, name) in (0..).zip(names) {
            assert_eq!(index.owner(name), Some(n));
        }
        for nobodys in [at(0, 7, 1), at(0, 7, 3), at(0, 8, 0), at(0, 9, 2_046), at(1, 7, 1)] {
            assert_eq!(index.owner(nobodys), None, "{}", nobodys.unpack());
        }
        assert!(index.shared.is_empty());
    }

    #[test]
    fn one_transfer_told_to_two_is_noted() {
        let index = TransferIndex::of(&Told(vec![Ending::Posted(at(0, 7, 2)); 2]));
        assert_eq!(index.owner(at(0, 7, 2)), Some(0));
        assert_eq!(index.shared, [1]);
    }
}
