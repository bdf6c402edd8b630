//! A cut for the live audit begins here, or comes by with its first marker.

use std::sync::Arc;

use crate::channels::Message;
use crate::cut_image::CutImage;
use crate::cuts::{self, Cut, Extent, Marked};
use crate::id::{AccountId, TenantId};
use crate::ledger::Ledger;
use crate::rejection::Rejection;

impl Ledger {
    /// Begins a cut on the operator's word. Cuts have numbers that only grow, whatever they keep.
    pub(crate) fn cut(
        &mut self,
        tenant: TenantId,
        books: AccountId,
        number: u64,
        extent: Extent,
    ) -> Result<(), Rejection> {
        if tenant != TenantId(0) || !self.is_here(&books) || !self.cuts.is_new(number) {
            return Err(Rejection::InvalidCommand);
        }

        self.begin_cut(number, extent, None);
        Ok(())
    }

    /// A peer's marker has come, perhaps as the first that is heard of its cut.
    pub(crate) fn meet_cut(&mut self, number: u64, extent: Extent, from: u16) {
        match self.cuts.marked(number, from) {
            Marked::Begins => self.begin_cut(number, extent, Some(from)),
            Marked::Noted => {}
        }
    }

    /// Writes down this shard's part, and sends the markers. The peer whose marker brought the cut has no more to say.
    fn begin_cut(&mut self, number: u64, extent: Extent, brought_by: Option<u16>) {
        // What was taken in before the cut is answered before the marker.
        self.answer_peers();
        let shards = self.books.shards;
        let end = match extent {
            Extent::Sums | Extent::Whole => shards.count(),
            Extent::State => shards.meta().saturating_add(1),
        };
        match extent {
            Extent::Sums => {}
            Extent::Whole => self.keep_image(number),
            Extent::State => self.keep_state(number),
        }
        let peers = cuts::peers(self.books.shard, end);
        let waits_for = peers.iter().filter(|peer| Some(*peer) != brought_by).collect();
        let cut = Cut::new((self.now, self.index), self.totals.clone(), waits_for);
        self.cuts.begin(number, cut);
        for peer in peers.iter() {
            let marker = match extent {
                Extent::Sums => Message::Marker(number),
                Extent::Whole => Message::WholeMarker(number),
                Extent::State => Message::StateMarker { cut: number, inbox: self.inbox(peer) },
            };
            self.channels.send(peer, marker);
        }
    }

    /// Keeps everything as it is now, for whoever takes it, unless a later cut's is still there: in it, nobody has met the
    /// cut.
    fn keep_state(&mut self, number: u64) {
        self.answer_meta();
        if self.state_image.as_ref().is_some_and(|(kept, _)| *kept > number) {
            return;
        }
        self.state_image = Some((number, self.freeze()));
    }

    /// Keeps accounts and holds as they are now, unless a later cut's are kept: there is one image at a time.
    fn keep_image(&mut self, number: u64) {
        if self.cut_image.as_ref().is_some_and(|kept| kept.number() > number) {
            return;
        }
        let (accounts, holds) = (self.accounts.image(), self.holds.image());
        self.cut_image = Some(Arc::new(CutImage::new((number, self.now), accounts, holds)));
    }

    /// Lets go of an image that has been there long enough.
    pub(crate) fn pass_image(&mut self) {
        if self.cut_image.as_ref().is_some_and(|kept| kept.is_over(self.now)) {
            self.cut_image = None;
        }
    }
}
