//! Every way in which a row can be wrong, in one file.

use super::*;

const GOOD: &[u8] = b"1,1,s1,5.00\n";

/// Rows, each with what the report says about it: code, column and message.
const BAD: &[(&[u8], &str, &str, &str)] = &[
    (b"2,2,s1", "MISSING_COLUMN", "4", "column 4 (`amount`) is missing: the row has 3"),
    (b"   ", "MISSING_COLUMN", "2", "column 2 (`payer`) is missing: the row has 1"),
    (b"2,,s1,5.00", "EMPTY_COLUMN", "2", "column 2 (`payer`) is empty"),
    (b"2,2,s1,", "EMPTY_COLUMN", "4", "column 4 (`amount`) is empty"),
    (b"2,x2,s1,5.00", "ACCOUNT_SHAPE", "2", "column 2 (`payer`) is `x2`, not digits"),
    (b"2,2,s 1,5.00", "ACCOUNT_SHAPE", "3", "column 3 (`payee`) is `s 1`, not letters and digits"),
    (b"2,2\r3,s1,5.00", "ACCOUNT_SHAPE", "2", "column 2 (`payer`) is `2\\r3`, not digits"),
    (b"2,\xff2,s1,5.00", "NOT_UTF8", "2", "column 2 (`payer`) is not UTF-8"),
    (b"2,2,s1,\xc3", "NOT_UTF8", "4", "column 4 (`amount`) is not UTF-8"),
    (b"2,2,s1,-5.00", "NEGATIVE_AMOUNT", "4", "column 4 (`amount`) is negative"),
    (
        b"2,2,s1,5.000",
        "TOO_MANY_DECIMALS",
        "4",
        "column 4 (`amount`) has 3 decimals, the map allows 2",
    ),
    (b"2,2,s1,0.00", "ZERO_AMOUNT", "4", "column 4 (`amount`) is zero"),
    (
        b"2,2,s1,10000000000000.01",
        "AMOUNT_TOO_LARGE",
        "4",
        "column 4 (`amount`) is more than 10^15 minor units",
    ),
    (
        b"2,2,s1,99999999999999999999999999999999",
        "AMOUNT_TOO_LARGE",
        "4",
        "column 4 (`amount`) is more than 10^15 minor units",
    ),
    (b"2,2,s1,5e3", "NO_AMOUNT", "4", "column 4 (`amount`) is `5e3`, not an amount"),
    (b"2,2,s1,+5", "NO_AMOUNT", "4", "column 4 (`amount`) is `+5`, not an amount"),
    (b"2,2,s1, 5", "NO_AMOUNT", "4", "column 4 (`amount`) is ` 5`, not an amount"),
    (b"2,2,s1,5.", "NO_AMOUNT", "4", "column 4 (`amount`) is `5.`, not an amount"),
    (b"2,2,s1,.", "NO_AMOUNT", "4", "column 4 (`amount`) is `.`, not an amount"),
    (b"2,2,s1,1.2.3", "NO_AMOUNT", "4", "column 4 (`amount`) is `1.2.3`, not an amount"),
    (b"2,2,s1,\"5.00", "OPEN_QUOTE", "", "a quote is not closed on its line"),
];

/// What is unusual and still right, with the minor units that it pays.
const ODD: &[(&[u8], u64)] = &[
    (b"2,2,s1,.80", 80),
    (b"2,2,s1,7", 700),
    (b"2,2,s1,0007.5", 750),
    (b"2,2,s1,10000000000000.00", 1_000_000_000_000_000),
    (b"2,2,s1,5.00,more,columns", 500),
    (b"\"2\",\"2\",\"s1\",\"5.00\"", 500),
    (b"2,2,s1,5.00\r", 500),
];

#[tokio::test(start_paused = true)]
async fn each_is_told_by_row_and_column_and_costs_no_other_row_its_payment() {
    let mut file = GOOD.to_vec();
    let mut wanted = vec!["row,period,kind,code,column,message,key".to_owned()];
    for (row, code, column, message) in BAD {
        let line = file.iter().filter(|byte| **byte == b'\n').count() + 1;
        file.extend_from_slice(row);
        file.push(b'\n');
        let message =
            if message.contains(',') { format!("\"{message}\"") } else { (*message).to_owned() };
        wanted.push(format!("{line},,bad,{code},{column},{message},"));
    }
    // Too long for a row, on one line.
    let line = file.iter().filter(|byte| **byte == b'\n').count() + 1;
    file.extend_from_slice(&vec![b'9'; 200_000]);
    file.extend_from_slice(b"\n\n1,1,s1,5.00");
    wanted.push(format!("{line},,bad,ROW_TOO_LONG,,the row is longer than 65536 bytes,"));

    let mut desk = Desk::with(MAP, &file);
    let bank = Bank::reliable();
    let refused = desk.import(&bank).await.unwrap_err();
    assert_eq!((refused.exit(), bank.calls()), (2, 0), "with `stop`, nothing is sent");
    assert_eq!(desk.report().lines().collect::<Vec<_>>(), wanted);

    desk.on_error = OnError::Continue;
    let summary = desk.import(&bank).await.unwrap();
    assert_eq!(desk.report().lines().collect::<Vec<_>>(), wanted);
    let bad = u64::try_from(BAD.len() + 1).unwrap();
    assert_eq!(
        (summary.tally.rows, summary.tally.bad_rows, summary.tally.posted),
        (bad + 2, bad, 6)
    );
    assert_eq!(summary.verdict().unwrap_err().exit(), 2);
    assert_eq!(bank.posted(shop("s1")), Some(6 * 500));
}

#[tokio::test(start_paused = true)]
async fn what_is_only_unusual_is_paid() {
    let map = MAP.replace("periods = 3", "periods = 1");
    let mut file = b"\xef\xbb\xbf".to_vec();
    for (row, _) in ODD {
        file.extend_from_slice(row);
        file.push(b'\n');
    }
    // Without a line break at its end, and with the payer's need above what an account may begin with.
    file.pop();
    let mut desk = Desk::with(&map, &file);
    desk.on_error = OnError::Continue;
    let bank = Bank::reliable();
    let summary = desk.import(&bank).await.unwrap();
    assert_eq!(summary.tally.bad_rows, 0, "{}", desk.report());
    assert_eq!(summary.wanted_minor, ODD.iter().map(|(_, minor)| u128::from(*minor)).sum());
    assert_eq!(summary.tally.rejected, 1, "an account may begin with 10^15 at the most");
}

#[tokio::test(start_paused = true)]
async fn payer_and_payee_must_differ() {
    let map = MAP.replace("shop:{payee}", "acc:{payee}");
    let desk = Desk::with(&map, b"1,1,1,5.00\n");
    assert_eq!(desk.import(&Bank::reliable()).await.unwrap_err().exit(), 2);
    assert!(desk.report().contains("1,,bad,SAME_ACCOUNT,,payer and payee are the same account,"));
}

#[tokio::test(start_paused = true)]
async fn columns_are_found_by_their_titles() {
    let map = MAP
        .replace("header = false", "header = true")
        .replace("payer = { at = 2, shape", "payer = { title = \"From account\", shape")
        .replace("amount = { at = 4 }\n", "")
        .replace("payee = { at = 3,", "payee = { title = \"To\",");
    let desk = Desk::with(&map, b"\nTo,amount,\"From account\"\ns1,5.00,1\n");
    let bank = Bank::reliable();
    desk.import(&bank).await.unwrap();
    assert_eq!(bank.posted(shop("s1")), Some(3 * 500));
    for (header, part) in [
        (
            "To,amount,From acount\n",
            "no column has the title `From account`; did you mean `From acount`?",
        ),
        ("To,amont,From account\n", "there is no column `amount`; did you mean `amont`?"),
        ("To,amount,From account,To\n", "two columns with the title `To`"),
        ("", "is empty"),
    ] {
        let desk = Desk::with(&map, header.as_bytes());
        let wrong = desk.import(&bank).await.unwrap_err();
        assert!(wrong.message().contains(part), "{wrong}");
    }
}
