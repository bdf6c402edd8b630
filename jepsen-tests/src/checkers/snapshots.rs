//! What is read later is not older: of whole pictures, account by account, and of single reads.
//!
//! Every change of an account gives it another version. So a version has one balance, whoever reads it, at whichever
//! node; a picture that began after another had ended shows no account in an older version; nor does a read, unless it
//! was content with the past.

use std::collections::BTreeMap;

use super::Verdict;
use crate::history::{AccountSeen, Answer, End, History, Op};

pub(super) fn check(history: &History) -> Verdict {
    let mut verdict = Verdict::new("snapshots", "what is read later is not older");
    let mut versions: BTreeMap<(&str, u64), (i64, u64)> = BTreeMap::new();
    let mut fresh: BTreeMap<&str, Vec<(&Op, u64)>> = BTreeMap::new();
    let mut pictured: BTreeMap<&str, Vec<(&Op, u64)>> = BTreeMap::new();
    for op in &history.ops {
        match &op.end {
            End::Ok(Answer::Read(seen)) => {
                one_value(op, seen, &mut versions, &mut verdict);
                fresh.entry(&seen.account).or_default().push((op, seen.version));
            }
            End::Ok(Answer::ReadStale(seen)) => one_value(op, seen, &mut versions, &mut verdict),
            End::Ok(Answer::ReadAll(picture)) => {
                for seen in &picture.accounts {
                    one_value(op, seen, &mut versions, &mut verdict);
                    pictured.entry(&seen.account).or_default().push((op, seen.version));
                }
            }
            End::Ok(
                Answer::Transfer(_)
                | Answer::Hold(_)
                | Answer::Post(_)
                | Answer::Void(_)
                | Answer::Freeze(_)
                | Answer::Unfreeze(_)
                | Answer::Lookup(_)
                | Answer::ReadHold(_)
                | Answer::Statement(_),
            )
            | End::Fail(..)
            | End::Info => {}
        }
    }
    for (account, seen) in fresh.into_iter().chain(pictured) {
        not_older(account, seen, &mut verdict);
    }
    verdict
}

fn one_value<'a>(
    op: &Op,
    seen: &'a AccountSeen,
    versions: &mut BTreeMap<(&'a str, u64), (i64, u64)>,
    verdict: &mut Verdict,
) {
    let (posted, index) =
        *versions.entry((&seen.account, seen.version)).or_insert((seen.posted, op.index));
    verdict.expect(posted == seen.posted, || {
        let (account, version, other, now) = (&seen.account, seen.version, seen.posted, op.index);
        format!("{account} has {posted} in version {version} at line {index}, and {other} at {now}")
    });
}

/// Of two readings, one after the other, the second shows no older version.
fn not_older(account: &str, mut seen: Vec<(&Op, u64)>, verdict: &mut Verdict) {
    let mut ended: Vec<(u64, u64)> =
        seen.iter().map(|(op, version)| (op.ended, *version)).collect();
    ended.sort_unstable();
    seen.sort_by_key(|(op, _)| op.began);
    let mut ended = ended.into_iter().peekable();
    let mut newest = 0;
    for (op, version) in seen {
        while let Some((_, before)) = ended.next_if(|(ended, _)| *ended < op.began) {
            newest = newest.max(before);
        }
        verdict.expect(version >= newest, || {
            let index = op.index;
            format!("{account}: line {index} shows version {version}, after {newest} had been seen")
        });
    }
}
