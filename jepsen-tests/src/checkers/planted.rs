//! Planted mistakes: short histories, each with one thing wrong, and sound ones beside them.
//!
//! A checker is worth something when it finds what it is there for, and nothing where there is nothing. Every run begins
//! with this.

mod story;

use super::judge;
use story::Story;

/// Tells a history.
type Tell = fn(&mut Story);

/// Sound histories: nobody may find anything.
const SOUND: &[(&str, Tell)] = &[
    ("an ordinary day", |story| {
        story.transfer("t1", "a", "b", 30);
        story.read("a");
        story.refused(("t2", "b", "a", 900), "insufficient");
        story.picture();
        story.statement("b");
        story.transfer("t3", "b", "a", 100);
        story.read_stale("b");
        story.picture();
    }),
    ("a copy, a changed copy, and one that nobody answered at first", |story| {
        story.unanswered("t1", "a", "b", 30);
        let transfer = story.move_money("a", "b", 30);
        story.told(("t1", "a", "b", 30), &transfer, true);
        story.told(("t1", "a", "b", 30), &transfer, true);
        story.refused(("t1", "a", "b", 31), "key_reused");
        story.unanswered("t2", "a", "b", 5);
        story.refused(("t2", "a", "b", 5), "account_frozen");
    }),
    ("a copy of a refused one, of which nothing was done", |story| {
        story.refused(("t1", "a", "b", 300), "insufficient");
        story.not_done("t1", "a", "b", 300);
        story.lookup_refused("t1", "insufficient");
        story.not_done("t2", "a", "b", 5);
    }),
    ("a read while a transfer is under way", |story| {
        let transfer = story.begin_transfer("t1", "a", "b", 30);
        story.read("a");
        let made = story.move_money("a", "b", 30);
        story.read("b");
        story.end_transfer(transfer, &made);
        story.read("a");
    }),
    ("money that came back", |story| {
        story.came_back("t1", "a", "b", 30);
        story.read("a");
        story.picture();
    }),
    ("a hold, posted in parts and released", |story| {
        story.hold("h1", "a", "b", 50);
        story.picture();
        story.post("p1", "h1", 20, false);
        story.read_hold("h1");
        story.post("p2", "h1", 10, true);
        story.read_hold("h1");
        story.picture();
    }),
    (
        "a post whose first copy nobody answered, and whose second was told of it after the void",
        |story| {
            story.hold("h1", "a", "b", 50);
            let transfer = story.unanswered_post("p1", "h1", 20);
            story.void("v1", "h1");
            story.read_hold("h1");
            story.told_of_post(("p1", "h1", 20), &transfer);
        },
    ),
    ("a hold that was voided", |story| {
        story.hold("h1", "a", "b", 50);
        story.void("v1", "h1");
        story.read_hold("h1");
    }),
];

/// Histories with a mistake, and which checker must find it.
const MISTAKES: &[(&str, &str, Tell)] = &[
    ("once", "one key, two transfers", |story| {
        story.transfer("t1", "a", "b", 5);
        story.transfer("t1", "a", "b", 5);
    }),
    ("once", "one transfer, two effects", |story| {
        story.transfer("t1", "a", "b", 5);
        story.move_money("a", "b", 5);
    }),
    ("once", "an acknowledged transfer that is not in the books", |story| {
        story.told(("t1", "a", "b", 5), "tr_0-99-0", false);
    }),
    ("once", "a refused transfer that is in the books", |story| {
        story.refused(("t1", "a", "b", 5), "insufficient");
        story.move_money("a", "b", 5);
    }),
    ("once", "posted, and then refused", |story| {
        story.transfer("t1", "a", "b", 5);
        story.refused(("t1", "a", "b", 5), "insufficient");
    }),
    ("once", "a changed copy that was carried out", |story| {
        let transfer = story.transfer("t1", "a", "b", 5);
        story.told(("t1", "a", "b", 6), &transfer, true);
    }),
    ("once", "a key that was used by nobody", |story| {
        story.refused(("t1", "a", "b", 5), "key_reused");
    }),
    ("once", "one answer for two keys", |story| {
        let transfer = story.transfer("t1", "a", "b", 5);
        story.told(("t2", "a", "b", 5), &transfer, false);
    }),
    ("once", "done anew by a copy", |story| {
        let transfer = story.transfer("t1", "a", "b", 5);
        story.told(("t1", "a", "b", 5), &transfer, false);
    }),
    ("once", "nothing was done, they heard, and it was", |story| {
        story.not_done("t1", "a", "b", 5);
        let transfer = story.move_money("a", "b", 5);
        story.lookup("t1", &transfer);
    }),
    ("once", "nothing was done, they heard, and it was refused", |story| {
        story.not_done("t1", "a", "b", 300);
        story.lookup_refused("t1", "insufficient");
    }),
    ("once", "money that came back, and nobody heard so", |story| {
        story.came_back("t1", "a", "b", 5);
        story.forget_last_call();
    }),
    ("conservation", "a payment that is nowhere", |story| {
        story.lose("a", 5);
        story.picture();
    }),
    ("conservation", "money that nobody brought, at the end", |story| {
        story.lose("a", -5);
    }),
    ("linear", "a read that does not show what was acknowledged", |story| {
        let before = story.seen("a");
        story.transfer("t1", "a", "b", 5);
        story.read_as(before);
    }),
    ("linear", "a read that shows what nobody did", |story| {
        let mut seen = story.seen("a");
        seen.posted = seen.posted.saturating_add(1);
        story.read_as(seen);
    }),
    ("linear", "a refusal although the money was there", |story| {
        story.refused(("t1", "a", "b", 50), "insufficient");
    }),
    ("linear", "more paid than there was", |story| {
        story.transfer("t1", "a", "b", 101);
    }),
    ("holds", "set aside, and no hold says so", |story| {
        story.hold("h1", "a", "b", 50);
        story.forget_hold("h1");
        story.picture();
    }),
    ("holds", "more posted than was held", |story| {
        story.hold("h1", "a", "b", 50);
        story.post("p1", "h1", 30, false);
        story.post("p2", "h1", 21, true);
    }),
    ("holds", "posted after it was voided", |story| {
        story.hold("h1", "a", "b", 50);
        story.void("v1", "h1");
        story.post("p1", "h1", 30, true);
    }),
    ("holds", "posted after it was seen to have expired", |story| {
        story.hold("h1", "a", "b", 50);
        story.expire("h1");
        story.read_hold("h1");
        story.post("p1", "h1", 30, true);
    }),
    ("holds", "alive again", |story| {
        story.hold("h1", "a", "b", 50);
        let alive = story.hold_seen("h1");
        story.void("v1", "h1");
        story.read_hold_as(alive);
    }),
    ("statements", "a line that is gone", |story| {
        story.transfer("t1", "a", "b", 5);
        let before = story.lines("a");
        story.transfer("t2", "a", "b", 6);
        story.statement("a");
        story.statement_as("a", before);
    }),
    ("statements", "two pasts", |story| {
        story.transfer("t1", "a", "b", 5);
        let mut other = story.lines("a");
        if let Some(line) = other.last_mut() {
            line.transfer = "tr_9-9-9".to_owned();
        }
        story.statement("a");
        story.statement_as("a", other);
    }),
    ("statements", "a balance that does not run", |story| {
        story.transfer("t1", "a", "b", 5);
        let mut other = story.lines("a");
        if let Some(line) = other.last_mut() {
            line.balance = line.balance.saturating_add(1);
        }
        story.statement_as("a", other);
    }),
    ("statements", "an acknowledged line that is not there yet", |story| {
        let before = story.lines("a");
        story.transfer("t1", "a", "b", 5);
        story.statement_as("a", before);
    }),
    ("snapshots", "an older picture after a newer one", |story| {
        let before = story.everything();
        story.transfer("t1", "a", "b", 5);
        story.picture();
        story.picture_as(before);
    }),
    ("snapshots", "a version with two balances", |story| {
        let mut other = story.seen("a");
        other.posted = other.posted.saturating_sub(1);
        story.read("a");
        story.read_stale_as(other);
    }),
    ("alive", "a request that was never answered", |story| {
        story.unanswered("t1", "a", "b", 5);
    }),
    ("alive", "two gateways that do not agree", |story| {
        let mut other = story.seen("a");
        other.version = other.version.saturating_add(1);
        story.read_at_the_end(other);
    }),
    ("alive", "a process that ended by itself", |story| {
        story.phase("died: n1");
    }),
    ("alive", "an end that took too long", |story| {
        story.late(61_000_000_000);
    }),
];

/// Shows every checker what is wrong, and what is not. Gives how many histories there were.
///
/// # Errors
/// When a mistake was not found, or one was found where there is none: nothing here may judge then.
pub(crate) fn self_test() -> anyhow::Result<usize> {
    for (name, tell) in SOUND {
        let mut story = Story::new();
        tell(&mut story);
        for verdict in judge(&story.history()?) {
            let silent = verdict.findings.is_empty() && verdict.undecided.is_empty();
            anyhow::ensure!(
                silent,
                "`{name}` is sound, and `{}` says {verdict:?}",
                verdict.checker
            );
        }
    }
    for (checker, name, tell) in MISTAKES {
        let mut story = Story::new();
        tell(&mut story);
        let verdicts = judge(&story.history()?);
        let found =
            verdicts.iter().any(|told| told.checker == *checker && !told.findings.is_empty());
        anyhow::ensure!(found, "`{checker}` does not find `{name}`");
    }
    Ok(SOUND.len().saturating_add(MISTAKES.len()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_planted_mistake_is_found_and_nothing_else() {
        assert!(self_test().unwrap() > 30);
    }

    #[test]
    fn every_checker_has_its_mistakes() {
        for verdict in judge(&Story::new().history().unwrap()) {
            let of = MISTAKES.iter().filter(|(checker, ..)| *checker == verdict.checker);
            assert!(of.count() >= 2, "{}", verdict.checker);
        }
    }
}
