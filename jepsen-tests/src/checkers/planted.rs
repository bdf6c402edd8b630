//! Planted mistakes: short histories, each with one thing wrong, and sound ones beside them.
//!
//! A checker is worth something when it finds what it is there for, and nothing where there is nothing. Every run begins
//! with this.

mod story;

use super::judge;
use story::Story;

/// Tells a history.
type Tell = fn(&mut Story);

/// A history with a mistake, and which checker must find it.
struct Mistake {
    checker: &'static str,
    name: &'static str,
    tell: Tell,
}

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
    ("a hold that was voided", |story| {
        story.hold("h1", "a", "b", 50);
        story.void("v1", "h1");
        story.read_hold("h1");
    }),
];

/// Histories with a mistake.
const MISTAKES: &[Mistake] = &[
    Mistake {
        checker: "once",
        name: "one key, two transfers",
        tell: |story| {
            story.transfer("t1", "a", "b", 5);
            story.transfer("t1", "a", "b", 5);
        },
    },
    Mistake {
        checker: "once",
        name: "one transfer, two effects",
        tell: |story| {
            story.transfer("t1", "a", "b", 5);
            story.move_money("a", "b", 5);
        },
    },
    Mistake {
        checker: "once",
        name: "an acknowledged transfer that is not in the books",
        tell: |story| {
            story.told(("t1", "a", "b", 5), "tr_0-99-0", false);
        },
    },
    Mistake {
        checker: "once",
        name: "a refused transfer that is in the books",
        tell: |story| {
            story.refused(("t1", "a", "b", 5), "insufficient");
            story.move_money("a", "b", 5);
        },
    },
    Mistake {
        checker: "once",
        name: "posted, and then refused",
        tell: |story| {
            story.transfer("t1", "a", "b", 5);
            story.refused(("t1", "a", "b", 5), "insufficient");
        },
    },
    Mistake {
        checker: "once",
        name: "a changed copy that was carried out",
        tell: |story| {
            let transfer = story.transfer("t1", "a", "b", 5);
            story.told(("t1", "a", "b", 6), &transfer, true);
        },
    },
    Mistake {
        checker: "once",
        name: "a key that was used by nobody",
        tell: |story| {
            story.refused(("t1", "a", "b", 5), "key_reused");
        },
    },
    Mistake {
        checker: "once",
        name: "one answer for two keys",
        tell: |story| {
            let transfer = story.transfer("t1", "a", "b", 5);
            story.told(("t2", "a", "b", 5), &transfer, false);
        },
    },
    Mistake {
        checker: "once",
        name: "done anew by a copy",
        tell: |story| {
            let transfer = story.transfer("t1", "a", "b", 5);
            story.told(("t1", "a", "b", 5), &transfer, false);
        },
    },
    Mistake {
        checker: "once",
        name: "nothing was done, they heard, and it was",
        tell: |story| {
            story.not_done("t1", "a", "b", 5);
            let transfer = story.move_money("a", "b", 5);
            story.lookup("t1", &transfer);
        },
    },
    Mistake {
        checker: "once",
        name: "nothing was done, they heard, and it was refused",
        tell: |story| {
            story.not_done("t1", "a", "b", 300);
            story.lookup_refused("t1", "insufficient");
        },
    },
    Mistake {
        checker: "once",
        name: "money that came back, and nobody heard so",
        tell: |story| {
            story.came_back("t1", "a", "b", 5);
            story.forget_last_call();
        },
    },
    Mistake {
        checker: "conservation",
        name: "a payment that is nowhere",
        tell: |story| {
            story.lose("a", 5);
            story.picture();
        },
    },
    Mistake {
        checker: "conservation",
        name: "money that nobody brought, at the end",
        tell: |story| {
            story.lose("a", -5);
        },
    },
    Mistake {
        checker: "linear",
        name: "a read that does not show what was acknowledged",
        tell: |story| {
            let before = story.seen("a");
            story.transfer("t1", "a", "b", 5);
            story.read_as(before);
        },
    },
    Mistake {
        checker: "linear",
        name: "a read that shows what nobody did",
        tell: |story| {
            let mut seen = story.seen("a");
            seen.posted = seen.posted.saturating_add(1);
            story.read_as(seen);
        },
    },
    Mistake {
        checker: "linear",
        name: "a refusal although the money was there",
        tell: |story| {
            story.refused(("t1", "a", "b", 50), "insufficient");
        },
    },
    Mistake {
        checker: "linear",
        name: "more paid than there was",
        tell: |story| {
            story.transfer("t1", "a", "b", 101);
        },
    },
    Mistake {
        checker: "holds",
        name: "set aside, and no hold says so",
        tell: |story| {
            story.hold("h1", "a", "b", 50);
            story.forget_hold("h1");
            story.picture();
        },
    },
    Mistake {
        checker: "holds",
        name: "more posted than was held",
        tell: |story| {
            story.hold("h1", "a", "b", 50);
            story.post("p1", "h1", 30, false);
            story.post("p2", "h1", 21, true);
        },
    },
    Mistake {
        checker: "holds",
        name: "posted after it was voided",
        tell: |story| {
            story.hold("h1", "a", "b", 50);
            story.void("v1", "h1");
            story.post("p1", "h1", 30, true);
        },
    },
    Mistake {
        checker: "holds",
        name: "posted after it was seen to have expired",
        tell: |story| {
            story.hold("h1", "a", "b", 50);
            story.expire("h1");
            story.read_hold("h1");
            story.post("p1", "h1", 30, true);
        },
    },
    Mistake {
        checker: "holds",
        name: "alive again",
        tell: |story| {
            story.hold("h1", "a", "b", 50);
            let alive = story.hold_seen("h1");
            story.void("v1", "h1");
            story.read_hold_as(alive);
        },
    },
    Mistake {
        checker: "statements",
        name: "a line that is gone",
        tell: |story| {
            story.transfer("t1", "a", "b", 5);
            let before = story.lines("a");
            story.transfer("t2", "a", "b", 6);
            story.statement("a");
            story.statement_as("a", before);
        },
    },
    Mistake {
        checker: "statements",
        name: "two pasts",
        tell: |story| {
            story.transfer("t1", "a", "b", 5);
            let mut other = story.lines("a");
            if let Some(line) = other.last_mut() {
                line.transfer = "tr_9-9-9".to_owned();
            }
            story.statement("a");
            story.statement_as("a", other);
        },
    },
    Mistake {
        checker: "statements",
        name: "a balance that does not run",
        tell: |story| {
            story.transfer("t1", "a", "b", 5);
            let mut other = story.lines("a");
            if let Some(line) = other.last_mut() {
                line.balance = line.balance.saturating_add(1);
            }
            story.statement_as("a", other);
        },
    },
    Mistake {
        checker: "statements",
        name: "an acknowledged line that is not there yet",
        tell: |story| {
            let before = story.lines("a");
            story.transfer("t1", "a", "b", 5);
            story.statement_as("a", before);
        },
    },
    Mistake {
        checker: "snapshots",
        name: "an older picture after a newer one",
        tell: |story| {
            let before = story.everything();
            story.transfer("t1", "a", "b", 5);
            story.picture();
            story.picture_as(before);
        },
    },
    Mistake {
        checker: "snapshots",
        name: "a version with two balances",
        tell: |story| {
            let mut other = story.seen("a");
            other.posted = other.posted.saturating_sub(1);
            story.read("a");
            story.read_stale_as(other);
        },
    },
    Mistake {
        checker: "alive",
        name: "a request that was never answered",
        tell: |story| {
            story.unanswered("t1", "a", "b", 5);
        },
    },
    Mistake {
        checker: "alive",
        name: "two gateways that do not agree",
        tell: |story| {
            let mut other = story.seen("a");
            other.version = other.version.saturating_add(1);
            story.read_at_the_end(other);
        },
    },
    Mistake {
        checker: "alive",
        name: "a process that ended by itself",
        tell: |story| {
            story.phase("died: n1");
        },
    },
    Mistake {
        checker: "alive",
        name: "an end that took too long",
        tell: |story| {
            story.late(61_000_000_000);
        },
    },
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
    for Mistake { checker, name, tell } in MISTAKES {
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
            let of = MISTAKES.iter().filter(|mistake| mistake.checker == verdict.checker);
            assert!(of.count() >= 2, "{}", verdict.checker);
        }
    }
}
