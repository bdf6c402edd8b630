use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use ledger::{AccountId, Currency};
use sha2::Digest;

use super::run::{Job, OnError};
use super::tally::{Summary, Tally};
use super::template::account_id;
use crate::exit::Failure;
use crate::output::{Color, Format, Screen, Streams};

mod bad_rows;
mod bank;
mod berka;

use bank::{Bank, Mood};

const MAP: &str = r#"
namespace = "t"
currency = "CNY"
periods = 3
[file]
delimiter = "comma"
header = false
[columns]
payer = { at = 2, shape = "digits" }
payee = { at = 3, shape = "alphanumeric" }
amount = { at = 4 }
[payment]
amount = "amount"
[payer]
account = "acc:{payer}"
opening = "covers-all"
[payee]
account = "shop:{payee}"
"#;

fn quiet() -> Screen {
    let streams = Streams { out_is_tty: false, err_is_tty: false, no_color: true };
    Screen::new(Format::Table, Color::Never, true, streams)
}

/// A folder with a map and a file of payments.
struct Desk {
    home: tempfile::TempDir,
    on_error: OnError,
}

impl Desk {
    fn with(map: &str, file: &[u8]) -> Self {
        let home = tempfile::tempdir().unwrap();
        std::fs::write(home.path().join("map.toml"), map).unwrap();
        std::fs::write(home.path().join("file.csv"), file).unwrap();
        Self { home, on_error: OnError::Stop }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.home.path().join(name)
    }

    fn job(&self) -> Job {
        Job {
            file: self.path("file.csv"),
            map: self.path("map.toml"),
            periods: None,
            on_error: self.on_error,
            report: Some(self.path("report.csv")),
        }
    }

    async fn import(&self, bank: &Bank) -> Result<Summary, Failure> {
        let import = self.job().prepare(quiet())?;
        import.carry_out(bank, Duration::from_secs(600), std::future::pending()).await
    }

    fn report(&self) -> String {
        std::fs::read_to_string(self.path("report.csv")).unwrap()
    }
}

fn payer(number: usize) -> AccountId {
    let name = format!("acc:{number}");
    account_id("t", &name, &name)
}

fn shop(name: &str) -> AccountId {
    let name = format!("shop:{name}");
    account_id("t", &name, &name)
}

/// 300 rows: several batches a period, payers that repeat, amounts that differ.
fn rows() -> String {
    (1..=300).map(|n| format!("{n},{},s{},{}.{:02}\n", n % 97, n % 11, n, n % 100)).collect()
}

/// What every account must have been paid and have paid, worked out by other means than the importer's.
fn check_exactly_once(bank: &Bank, file: &str, periods: usize) {
    let mut payers: BTreeMap<usize, Vec<u64>> = BTreeMap::new();
    let mut shops: BTreeMap<&str, Vec<u64>> = BTreeMap::new();
    for line in file.lines() {
        let fields: Vec<&str> = line.split(',').collect();
        let minor: u64 = fields[3].replace('.', "").parse().unwrap();
        for _ in 0..periods {
            payers.entry(fields[1].parse().unwrap()).or_default().push(minor);
            shops.entry(fields[2]).or_default().push(minor);
        }
    }
    let sorted = |mut amounts: Vec<u64>| {
        amounts.sort_unstable();
        amounts
    };
    for (number, wanted) in payers {
        let paid = bank.lines(payer(number)).into_iter().filter(|(_, is_credit)| !is_credit);
        assert_eq!(
            sorted(paid.map(|(amount, _)| amount).collect()),
            sorted(wanted),
            "payer {number}"
        );
        assert!(
            (0..100).contains(&bank.posted(payer(number)).unwrap()),
            "less than one yuan is left"
        );
    }
    for (name, wanted) in shops {
        let got = bank.lines(shop(name)).into_iter().map(|(amount, is_credit)| {
            assert!(is_credit);
            amount
        });
        assert_eq!(sorted(got.collect()), sorted(wanted), "shop {name}");
    }
    bank.owed(Currency::CNY);
}

#[tokio::test(start_paused = true)]
async fn every_row_is_paid_once_in_every_period() {
    let file = rows();
    let (desk, bank) = (Desk::with(MAP, file.as_bytes()), Bank::reliable());
    let summary = desk.import(&bank).await.unwrap();
    check_exactly_once(&bank, &file, 3);
    let sum = 3 * file
        .lines()
        .map(|l| l.rsplit(',').next().unwrap().replace('.', "").parse::<u128>().unwrap())
        .sum::<u128>();
    let wanted = Tally {
        rows: 300,
        accounts_opened: 97 + 11,
        payments: 900,
        posted: 900,
        paid_minor: sum,
        paid_now_minor: sum,
        ..Tally::default()
    };
    assert_eq!((summary.tally.clone(), summary.wanted_minor), (wanted, sum));
    assert_eq!(summary.verdict(), Ok(()));
    assert_eq!(bank.accounts(), 97 + 11);
    assert_eq!(desk.report().lines().count(), 1, "nothing went wrong");
}

#[tokio::test(start_paused = true)]
async fn the_same_file_again_pays_nothing() {
    let file = rows();
    let (desk, bank) = (Desk::with(MAP, file.as_bytes()), Bank::reliable());
    let first = desk.import(&bank).await.unwrap().tally;
    let again = desk.import(&bank).await.unwrap();
    check_exactly_once(&bank, &file, 3);
    assert_eq!((again.tally.posted, again.tally.replayed), (0, first.posted));
    assert_eq!((again.tally.paid_minor, again.tally.paid_now_minor), (first.paid_minor, 0));
    assert_eq!((again.tally.accounts_opened, again.tally.accounts_there), (0, 108));
    assert_eq!(again.verdict(), Ok(()));
}

#[tokio::test(start_paused = true)]
async fn a_crash_at_any_call_costs_nothing_and_doubles_nothing() {
    let file: String = rows().lines().take(100).map(|line| format!("{line}\n")).collect();
    let desk = Desk::with(MAP, file.as_bytes());
    let calls = {
        let bank = Bank::reliable();
        desk.import(&bank).await.unwrap();
        bank.calls()
    };
    assert!(calls >= 8, "{calls} calls are too few to crash between");
    for crash in [Mood::Hangs, Mood::Swallows] {
        for at in 0..calls {
            // From one call on nothing comes back, and the importer is killed where it stands.
            let bank = Bank::new(move |call| if call == at { crash } else { Mood::Answers });
            let killed = tokio::time::timeout(Duration::from_secs(60), desk.import(&bank)).await;
            assert!(killed.is_err(), "call {at} came back");
            let bank = bank.with_mood(|_| Mood::Answers);
            let summary = desk.import(&bank).await.unwrap();
            assert_eq!(summary.verdict(), Ok(()), "{crash:?} at call {at}");
            check_exactly_once(&bank, &file, 3);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn lost_answers_are_asked_for_again_until_they_are_known() {
    let file = rows();
    for seed in 0..20_usize {
        let desk = Desk::with(MAP, file.as_bytes());
        let moods = [Mood::Answers, Mood::Refuses, Mood::Loses, Mood::Forgets, Mood::Halves];
        let bank = Bank::new(move |call| {
            let drawn = sha2::Sha256::digest([seed.to_be_bytes(), call.to_be_bytes()].concat());
            moods[usize::from(drawn[0]) % moods.len()]
        });
        let summary = desk.import(&bank).await.unwrap();
        assert_eq!(summary.verdict(), Ok(()), "seed {seed}");
        assert_eq!(summary.tally.posted + summary.tally.replayed, 900, "seed {seed}");
        check_exactly_once(&bank, &file, 3);
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_not_known_in_the_end_is_told_as_unknown() {
    let desk = Desk::with(MAP, b"1,1,s1,5.00\n");
    // The accounts are opened; then answers are lost, and at last requests are refused: still unknown.
    let bank = Bank::new(|call| match call {
        0 => Mood::Answers,
        1 => Mood::Loses,
        _ => Mood::Refuses,
    });
    let summary = desk.import(&bank).await.unwrap();
    assert_eq!((summary.tally.unknown, summary.tally.not_made), (3, 0));
    assert_eq!(summary.verdict().unwrap_err().exit(), 76);
    assert!(desk.report().contains("unknown,OUTCOME_UNKNOWN"), "{}", desk.report());
    // Whoever asks again learns that it was done.
    let again = desk.import(&bank.with_mood(|_| Mood::Answers)).await.unwrap();
    assert_eq!((again.tally.replayed, again.verdict()), (3, Ok(())));
}

#[tokio::test(start_paused = true)]
async fn what_was_never_proposed_is_told_as_not_made() {
    let desk = Desk::with(MAP, b"1,1,s1,5.00\n");
    let bank = Bank::new(|_| Mood::Refuses);
    let summary = desk.import(&bank).await.unwrap();
    assert_eq!((summary.tally.unknown, summary.tally.left()), (0, 3));
    assert_eq!(summary.verdict().unwrap_err().exit(), 75);
    assert_eq!(bank.accounts(), 0);
}

#[tokio::test(start_paused = true)]
async fn an_interrupted_import_finishes_what_is_under_way_and_no_more() {
    let file = rows();
    let (desk, bank) = (Desk::with(MAP, file.as_bytes()), Bank::reliable());
    let import = desk.job().prepare(quiet()).unwrap();
    let summary = import.carry_out(&bank, Duration::from_secs(600), async {}).await.unwrap();
    assert_eq!(summary.tally.unknown, 0);
    assert!(summary.tally.left() > 0);
    assert_eq!(summary.verdict().unwrap_err().exit(), 75);
    let again = desk.import(&bank).await.unwrap();
    assert_eq!(again.verdict(), Ok(()));
    check_exactly_once(&bank, &file, 3);
}

#[tokio::test(start_paused = true)]
async fn a_refused_payment_is_reported_and_the_rest_goes_on_or_not() {
    let map = MAP.replace("covers-all", "12.00");
    let file = "1,1,s1,5.00\n2,2,s1,4.00\n";
    let mut desk = Desk::with(&map, file.as_bytes());
    desk.on_error = OnError::Continue;
    let bank = Bank::reliable();
    let summary = desk.import(&bank).await.unwrap();
    assert_eq!((summary.tally.posted, summary.tally.rejected), (5, 1));
    assert_eq!(summary.verdict().unwrap_err().exit(), 3);
    let report = desk.report();
    let line = report.lines().nth(1).unwrap();
    assert!(
        line.starts_with("1,3,rejected,INSUFFICIENT,,\"200 available, 500 requested\","),
        "{line}"
    );

    // With `stop`, the first refusal is the last thing that is begun; here that is the batch it is in.
    let long = rows();
    let desk = Desk::with(&MAP.replace("covers-all", "1.00"), long.as_bytes());
    let bank = Bank::reliable();
    let summary = desk.import(&bank).await.unwrap();
    assert!(summary.tally.left() > 0 && summary.tally.rejected > 0, "{summary:?}");
    assert_eq!(summary.verdict().unwrap_err().exit(), 3);
}

#[tokio::test(start_paused = true)]
async fn a_row_with_an_identity_is_paid_once_even_in_a_corrected_file() {
    let map =
        MAP.replace("[payment]", "[payment]\nidentity = \"{1}\"").replace("covers-all", "100.00");
    let bank = Bank::reliable();
    let desk = Desk::with(&map, b"1,1,s1,5.00\n2,2,s1,4.00\n");
    desk.import(&bank).await.unwrap();
    let desk = Desk::with(&map, b"2,2,s1,4.00\n3,1,s1,6.00\n1,1,s1,5.00\n");
    let summary = desk.import(&bank).await.unwrap();
    assert_eq!((summary.tally.posted, summary.tally.replayed), (3, 6));
    assert_eq!(bank.posted(shop("s1")), Some(3 * (500 + 400 + 600)));

    // Another amount under the same identity is a mistake, and is refused as one.
    let desk = Desk::with(&map, b"1,1,s1,7.00\n");
    let summary = desk.import(&bank).await.unwrap();
    assert_eq!(summary.tally.rejected, 3);
    assert!(desk.report().contains("KEY_REUSED"));
}

#[tokio::test(start_paused = true)]
async fn accounts_that_are_there_already_are_used_as_they_are() {
    let bank = Bank::reliable();
    Desk::with(MAP, b"1,1,s1,5.00\n").import(&bank).await.unwrap();
    // The same payer in another file needs another opening balance; it has what it has.
    let desk = Desk::with(MAP, b"9,1,s1,1.00\n");
    let summary = desk.import(&bank).await.unwrap();
    assert_eq!((summary.tally.accounts_there, summary.tally.accounts_failed), (2, 0));
    assert_eq!(summary.verdict().unwrap_err().exit(), 3);
    assert!(desk.report().contains("INSUFFICIENT"));
}

#[tokio::test(start_paused = true)]
async fn a_file_that_changes_meanwhile_is_noticed() {
    let file = rows();
    let desk = Desk::with(MAP, file.as_bytes());
    let import = desk.job().prepare(quiet()).unwrap();
    std::fs::write(desk.path("file.csv"), file.replace(",s1,", ",s2,")).unwrap();
    let bank = Bank::reliable();
    let result = import.carry_out(&bank, Duration::from_secs(60), std::future::pending()).await;
    let failure = result.unwrap_err();
    assert!(failure.message().contains("changed"), "{failure}");
}

#[test]
fn a_rehearsal_tells_what_would_be_done() {
    let desk = Desk::with(MAP, b"1,1,s1,5.00\n2,2,s1,4.00\n");
    let summary = desk.job().prepare(quiet()).unwrap().rehearse().unwrap();
    assert_eq!((summary.tally.payments, summary.wanted_minor, summary.accounts), (6, 2_700, 3));
    assert_eq!(summary.verdict(), Ok(()));
}

#[test]
fn what_cannot_be_imported_is_refused_before_anything_is_sent() {
    let refused = |job: Job| job.prepare(quiet()).err().expect("refused");
    let desk = Desk::with(MAP, b"1,1,s1,5.00\n");
    let report = Job { report: Some(desk.path("file.csv")), ..desk.job() };
    assert_eq!(refused(report).exit(), 64);
    assert_eq!(std::fs::read(desk.path("file.csv")).unwrap(), b"1,1,s1,5.00\n");
    assert_eq!(refused(Job { file: desk.path("none"), ..desk.job() }).exit(), 74);
    assert_eq!(refused(Job { file: desk.home.path().to_path_buf(), ..desk.job() }).exit(), 64);
    assert_eq!(refused(Job { map: desk.path("none"), ..desk.job() }).exit(), 78);
    for (was, is, part) in [
        ("periods", "period", "unknown key `period`; did you mean `periods`?"),
        ("{payer}", "{payr}", "there is no column `payr`; did you mean `payer`?"),
        ("\"CNY\"", "\"XAU\"", "`currency` is `XAU`"),
        ("covers-all", "cover-all", "`payer.opening` is `cover-all`"),
        ("periods = 3", "periods = 0", "`periods` is 0"),
        ("\"comma\"", "\"coma\"", "did you mean `comma`?"),
        ("at = 2", "title = \"a\"", "the file has no header"),
        (
            "amount = \"amount\"",
            "amount = \"amount\"\ndecimals = 3",
            "`payment.decimals` is 3; CNY has 2",
        ),
    ] {
        std::fs::write(desk.path("map.toml"), MAP.replacen(was, is, 1)).unwrap();
        let wrong = refused(desk.job());
        assert!(wrong.message().contains(part), "{part}: {wrong}");
        assert_eq!(wrong.exit(), 78);
    }
}

fn examples(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples").join(name)
}
