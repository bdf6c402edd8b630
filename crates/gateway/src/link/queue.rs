//! What waits for its turn on one link: first what goes out again, then what is new.

use std::collections::VecDeque;
use std::sync::Arc;

use ledger::{BatchError, Request};
use runtime::Instant;
use wire::Failure;

use super::Suspicion;
use super::frame::{Draft, Frame};
use crate::call::Call;

/// What waits for its turn. The gateway's budget bounds it.
#[derive(Debug, Default)]
pub(super) struct Queue {
    again: VecDeque<Frame>,
    sealed: VecDeque<Frame>,
    draft: Draft,
    /// What somebody heard about the leader.
    pub(super) suspicion: Option<Suspicion>,
}

impl Queue {
    pub(super) fn push(
        &mut self,
        request: &Request,
        call: &Arc<Call>,
        place: usize,
    ) -> Result<(), BatchError> {
        if self.draft.is_full() {
            self.sealed.extend(self.draft.seal());
        }
        self.draft.push(request, call, place)
    }

    /// Takes back what must go out again, before anything newer. What pauses together goes together: a node that is
    /// too busy is not helped by many small frames.
    pub(super) fn push_again(&mut self, frame: Frame) {
        let pausing = self.again.back_mut().filter(|last| last.not_before.is_some());
        let alone = match pausing {
            Some(last) => last.absorb(frame).err(),
            None => Some(frame),
        };
        self.again.extend(alone);
    }

    /// Takes back what was in flight when its stream broke, in its old order, before everything else.
    pub(super) fn recall(&mut self, frames: impl DoubleEndedIterator<Item = Frame>) {
        for frame in frames.rev() {
            self.again.push_front(frame);
        }
    }

    /// What goes out next.
    pub(super) fn next(&mut self, now: Instant) -> Option<Frame> {
        let ripe = |frame: &Frame| frame.not_before.is_none_or(|at| at <= now);
        if let Some(first) = self.again.iter().position(ripe) {
            return self.again.remove(first);
        }
        self.sealed.pop_front().or_else(|| self.draft.seal())
    }

    /// When the first deadline is.
    pub(super) fn deadline(&self) -> Option<Instant> {
        let waiting = self.again.iter().chain(&self.sealed);
        waiting.filter_map(|frame| frame.earliest).chain(self.draft.earliest()).min()
    }

    /// When the first pause ends.
    pub(super) fn pause_end(&self) -> Option<Instant> {
        self.again.iter().filter_map(|frame| frame.not_before).min()
    }

    /// Tells those whose deadline has come what is known; `otherwise` is why nothing went out.
    pub(super) fn expire(&mut self, now: Instant, otherwise: Failure) {
        if self.deadline().is_none_or(|earliest| earliest > now) {
            return;
        }
        self.sealed.extend(self.draft.seal());
        for frames in [&mut self.again, &mut self.sealed] {
            let left = std::mem::take(frames).into_iter().filter_map(|mut frame| {
                frame.expire(now, otherwise);
                frame.rest()
            });
            *frames = left.collect();
        }
    }
}
