//! A real bank's standing orders, a year of them. The data are not ours to ship: the test runs where they are.

use super::*;

#[test]
fn the_shipped_map_can_be_read() {
    let map = super::super::map::Map::load(&examples("berka.toml")).unwrap();
    assert!(map.bind(None).is_ok());
}

#[tokio::test(start_paused = true)]
async fn a_year_of_standing_orders_is_paid_to_the_cent() {
    let Some(data) = std::env::var_os("PAYCORE_TEST_DATA") else {
        eprintln!("skipped: set PAYCORE_TEST_DATA to the folder that has berka/fin_order.tsv");
        return;
    };
    let file = Path::new(&data).join("berka/fin_order.tsv");
    let text = std::fs::read_to_string(&file).unwrap();
    // By other means than the importer's: an amount without its point, counted twelve times.
    let cents =
        |line: &str| line.split('\t').nth(4).unwrap().replace('.', "").parse::<u128>().unwrap();
    let year = text.lines().map(cents).sum::<u128>() * 12;

    let home = tempfile::tempdir().unwrap();
    let job = Job {
        file,
        map: examples("berka.toml"),
        periods: None,
        on_error: OnError::Stop,
        report: Some(home.path().join("report.csv")),
    };
    let bank = Bank::reliable();
    for again in [false, true] {
        let import = job.clone().prepare(quiet()).unwrap();
        let summary = import
            .carry_out(&bank, Duration::from_secs(600), std::future::pending())
            .await
            .unwrap();
        assert_eq!(summary.verdict(), Ok(()));
        let tally = &summary.tally;
        assert_eq!((tally.rows, tally.payments), (6_471, 77_652));
        assert_eq!((tally.paid_minor, summary.wanted_minor), (year, year));
        assert_eq!((tally.posted, tally.replayed), if again { (0, 77_652) } else { (77_652, 0) });
    }
    let payees: std::collections::BTreeSet<AccountId> = text
        .lines()
        .map(|line| {
            let fields: Vec<&str> = line.split('\t').collect();
            let name = format!("payee:{}:{}", fields[2], fields[3]);
            account_id("berka", &name, &name)
        })
        .collect();
    let received: i128 = payees.iter().map(|payee| bank.posted(*payee).unwrap()).sum();
    assert_eq!(u128::try_from(received).unwrap(), year, "what all payees have");
}
