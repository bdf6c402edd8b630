//! A cut for the live audit begins here, or comes by with its first marker.

use crate::channels::Message;
use crate::cuts::{self, Cut};
use crate::id::{AccountId, TenantId};
use crate::ledger::Ledger;
use crate::rejection::Rejection;

impl Ledger {
    /// Begins a cut on the operator's word. Cuts have numbers that only grow.
    pub(crate) fn cut(
        &mut self,
        tenant: TenantId,
        books: AccountId,
        number: u64,
    ) -> Result<(), Rejection> {
        if tenant != TenantId(0) || !self.is_here(&books) || !self.cuts.is_new(number) {
            return Err(Rejection::InvalidCommand);
        }

        self.begin_cut(number, None);
        Ok(())
    }

    /// Writes down this shard's part, and sends the markers. The peer whose marker brought the cut has no more to say.
    pub(crate) fn begin_cut(&mut self, number: u64, brought_by: Option<u16>) {
        // What was taken in before the cut is answered before the marker.
        self.answer_peers();
        let peers = cuts::peers(self.books.shard, self.books.shards.count());
        let waits_for = peers.iter().filter(|peer| Some(*peer) != brought_by).collect();
        let cut = Cut::new((self.now, self.index), self.totals.clone(), waits_for);
        self.cuts.begin(number, cut);
        for peer in peers.iter() {
            self.channels.send(peer, Message::Marker(number));
        }
    }
}
