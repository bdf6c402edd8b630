//! Holds: what an account has set aside is what its active holds say, nothing is posted beyond its hold, and nothing
//! comes after the end of one.
//!
//! A request may be carried out as soon as the first call with its key has begun, whoever is told of it in the end: a copy
//! may be told as if it were the first when nobody else is left to be told.

use std::collections::BTreeMap;

use super::Verdict;
use crate::history::{Answer, Call, End, History, HoldSeen, HoldStage, Op, Picture};

/// What is known of one hold.
#[derive(Default)]
struct Story<'a> {
    /// What it began with.
    amount: Option<i64>,
    /// Posts that were acknowledged, by key: amount, whether the rest was released, and when.
    posts: BTreeMap<&'a str, (i64, bool, When)>,
    /// The first void that was acknowledged.
    void: Option<When>,
    /// Readings.
    seen: Vec<(&'a Op, &'a HoldSeen)>,
}

/// When something was done: after the first call for it began, and before the first acknowledgement.
#[derive(Clone, Copy)]
struct When {
    began: u64,
    ended: u64,
}

impl When {
    /// Of all calls of a key; nothing, when none was acknowledged.
    fn of(calls: &[&Op]) -> Option<Self> {
        let began = calls.iter().map(|op| op.began).min()?;
        let done = calls.iter().filter(|op| op.done().is_some());
        Some(Self { began, ended: done.map(|op| op.ended).min()? })
    }
}

pub(super) fn check(history: &History) -> Verdict {
    let mut verdict = Verdict::new("holds", "held is what holds say, and ended holds stay ended");
    let mut stories: BTreeMap<&str, Story<'_>> = BTreeMap::new();
    for calls in history.keys().values() {
        let (Some(op), Some(when)) = (calls.first(), When::of(calls)) else { continue };
        if let Call::Hold { id, amount, .. } = &op.call {
            stories.entry(id).or_default().amount = Some(*amount);
        }
        if let Call::Post { id, hold, amount, release } = &op.call {
            let posts = &mut stories.entry(hold).or_default().posts;
            posts.insert(id, (*amount, *release, when));
        }
        if let Call::Void { hold, .. } = &op.call {
            let void = &mut stories.entry(hold).or_default().void;
            *void = void.filter(|first| first.ended <= when.ended).or(Some(when));
        }
    }
    for op in &history.ops {
        match &op.end {
            End::Ok(Answer::ReadHold(seen)) => {
                stories.entry(&seen.hold).or_default().seen.push((op, seen));
            }
            End::Ok(Answer::ReadAll(picture)) => add_up(op, picture, &mut verdict),
            End::Ok(_) | End::Fail(..) | End::Info => {}
        }
    }
    let quiet = history.phase("final").unwrap_or(u64::MAX);
    for (hold, story) in &stories {
        one(hold, story, &mut verdict);
        lives(hold, story, quiet, &mut verdict);
    }
    verdict
}

/// In one picture, every account has set aside what its active holds hold.
fn add_up(op: &Op, picture: &Picture, verdict: &mut Verdict) {
    let mut held: BTreeMap<&str, i64> = BTreeMap::new();
    for hold in &picture.holds {
        let of = held.entry(&hold.from).or_default();
        *of = of.saturating_add(hold.remaining);
    }
    for account in &picture.accounts {
        let holds = held.remove(account.account.as_str()).unwrap_or(0);
        verdict.expect(account.held == holds, || {
            let (name, held, index) = (&account.account, account.held, op.index);
            format!("line {index}: {name} has {held} set aside, and its holds {holds}")
        });
    }
    for (account, amount) in held {
        verdict.found(format!("line {}: {amount} held of {account}, which is nowhere", op.index));
    }
}

/// Posts and voids of one hold.
fn one(hold: &str, story: &Story<'_>, verdict: &mut Verdict) {
    let posted = story.posts.values().map(|(amount, ..)| *amount).fold(0, i64::saturating_add);
    if let Some(amount) = story.amount {
        verdict.expect(posted <= amount, || format!("{hold}: {posted} posted of {amount}"));
    }
    for (id, (_, release, post)) in &story.posts {
        let after_void = story.void.is_some_and(|void| void.ended < post.began);
        verdict.expect(!after_void, || format!("{hold}: {id} posted after it was voided"));
        if *release {
            let is_later = |other: When| post.ended < other.began;
            let later = story.posts.values().any(|(_, _, other)| is_later(*other));
            let later = later || story.void.is_some_and(is_later);
            verdict.expect(!later, || format!("{hold}: more came after {id} released the rest"));
        }
    }
}

/// Readings of one hold fit each other and what was acknowledged.
fn lives(hold: &str, story: &Story<'_>, quiet: u64, verdict: &mut Verdict) {
    let all = story.posts.values().map(|(amount, ..)| *amount).fold(0, i64::saturating_add);
    for (op, seen) in &story.seen {
        let index = op.index;
        let fits = match seen.stage {
            HoldStage::Active => seen.posted.saturating_add(seen.remaining) == seen.amount,
            HoldStage::Posted | HoldStage::Voided | HoldStage::Expired => {
                seen.remaining == 0 && seen.posted <= seen.amount
            }
        };
        verdict.expect(fits, || format!("line {index}: {seen:?} does not add up"));
        let before = story.posts.values().filter(|(_, _, post)| post.ended < op.began);
        let before = before.map(|(amount, ..)| *amount).fold(0, i64::saturating_add);
        verdict.expect(seen.posted >= before, || {
            let posted = seen.posted;
            format!("line {index}: {hold} shows {posted} posted where {before} was acknowledged")
        });
        let voided = story.void.is_some_and(|void| void.ended < op.began);
        verdict.expect(!voided || seen.stage == HoldStage::Voided, || {
            format!("line {index}: {hold} was voided, and is {:?}", seen.stage)
        });
        let ended = seen.stage != HoldStage::Active;
        if ended {
            let later = story.seen.iter().filter(|(later, _)| op.ended < later.began);
            for (later, other) in later {
                verdict.expect((other.stage, other.posted) == (seen.stage, seen.posted), || {
                    let later = later.index;
                    format!("{hold} had ended at line {index}, and is another at line {later}")
                });
            }
            for (id, (.., post)) in &story.posts {
                verdict.expect(op.ended >= post.began, || {
                    format!("{hold}: {id} posted after its end")
                });
            }
        }
        if op.began >= quiet {
            verdict.expect(seen.posted == all, || {
                let posted = seen.posted;
                format!("{hold}: {posted} posted at the end, and {all} acknowledged")
            });
        }
    }
}
