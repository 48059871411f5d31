use expect_test::{Expect, expect};
use serde_json::json;

use super::*;

const SEALED: &str = "2026-03-28T10:00:00Z";

/// The first due times of a schedule in a function sealed on the day before Berlin's clocks go forward.
#[track_caller]
fn check(schedule: Value, expected: Expect) {
    let sealed: Timestamp = SEALED.parse().unwrap();
    let schedule =
        Schedule::parse(&schedule).and_then(|schedule| schedule.check(sealed).map(|()| schedule));
    let told = match schedule {
        Err(malformed) => malformed.to_string(),
        Ok(schedule) => {
            let first = schedule.next(sealed, sealed);
            let dues = std::iter::successors(first, |due| schedule.next(sealed, *due)).take(3);
            dues.map(|due| due.to_string())
                .collect::<Vec<_>>()
                .join(" ")
        }
    };
    expected.assert_eq(&told);
}

#[test]
fn an_instant_comes_once_and_a_past_one_never() {
    check(
        json!("@at 2026-03-29T12:00:00+02:00"),
        expect!["2026-03-29T10:00:00.000000Z"],
    );
    check(json!("@at 2026-03-28T09:00:00Z"), expect![[""]]);
}

#[test]
fn what_the_bus_cannot_wait_for_is_refused() {
    check(
        json!("@at 2262-04-11T23:47:16Z"),
        expect!["2262-04-11T23:47:16.000000Z"],
    );
    let too_far = expect!["it comes due after 2262-04-11, which is more than the bus can wait for"];
    check(json!("@at 2262-04-11T23:47:17Z"), too_far);
}

#[test]
fn a_period_counts_from_the_sealing() {
    check(
        json!("@every 30s"),
        expect![
            "2026-03-28T10:00:30.000000Z 2026-03-28T10:01:00.000000Z 2026-03-28T10:01:30.000000Z"
        ],
    );
    check(
        json!("@every 1d2h3m4s"),
        expect![
            "2026-03-29T12:03:04.000000Z 2026-03-30T14:06:08.000000Z 2026-03-31T16:09:12.000000Z"
        ],
    );
}

#[test]
fn cron_follows_the_clocks_of_its_zone() {
    check(
        json!("0 9 * * *"),
        expect![
            "2026-03-29T09:00:00.000000Z 2026-03-30T09:00:00.000000Z 2026-03-31T09:00:00.000000Z"
        ],
    );
    check(
        json!("CRON_TZ=Europe/Berlin 0 9 * * *"),
        expect![
            "2026-03-29T07:00:00.000000Z 2026-03-30T07:00:00.000000Z 2026-03-31T07:00:00.000000Z"
        ],
    );
    check(
        json!({ "cron": "0 9 * * *", "tz": "Europe/Berlin" }),
        expect![
            "2026-03-29T07:00:00.000000Z 2026-03-30T07:00:00.000000Z 2026-03-31T07:00:00.000000Z"
        ],
    );
    check(
        json!({ "cron": "30 2 * * *", "tz": "Europe/Berlin" }),
        expect![
            "2026-03-29T01:00:00.000000Z 2026-03-30T00:30:00.000000Z 2026-03-31T00:30:00.000000Z"
        ],
    );
    check(
        json!("*/2 * * * * *"),
        expect![
            "2026-03-28T10:00:02.000000Z 2026-03-28T10:00:04.000000Z 2026-03-28T10:00:06.000000Z"
        ],
    );
    check(
        json!("@daily"),
        expect![
            "2026-03-29T00:00:00.000000Z 2026-03-30T00:00:00.000000Z 2026-03-31T00:00:00.000000Z"
        ],
    );
}

#[test]
fn what_cannot_be_followed_is_said_in_a_sentence() {
    check(
        json!(5),
        expect![
            "metadata.schedule is neither a text nor an object with `cron` and, if wanted, `tz`"
        ],
    );
    check(
        json!({ "every": "1s" }),
        expect![
            "metadata.schedule is neither a text nor an object with `cron` and, if wanted, `tz`"
        ],
    );
    check(
        json!({ "cron": "0 9 * * *", "zone": "Europe/Berlin" }),
        expect![
            "metadata.schedule is neither a text nor an object with `cron` and, if wanted, `tz`"
        ],
    );
    check(
        json!("@at tomorrow"),
        expect!["`@at` needs an RFC 3339 instant, such as `@at 2027-01-31T09:00:00Z`"],
    );
    check(
        json!("@every 500ms"),
        expect![
            "`@every` needs a duration of 1 s to 100 years in whole `d`, `h`, `m`, `s`, such as `@every 1h30m`"
        ],
    );
    check(
        json!("@every 0s"),
        expect![
            "`@every` needs a duration of 1 s to 100 years in whole `d`, `h`, `m`, `s`, such as `@every 1h30m`"
        ],
    );
    check(
        json!("@every 99999999999999999999d"),
        expect![
            "`@every` needs a duration of 1 s to 100 years in whole `d`, `h`, `m`, `s`, such as `@every 1h30m`"
        ],
    );
    check(
        json!("@every 5"),
        expect![
            "`@every` needs a duration of 1 s to 100 years in whole `d`, `h`, `m`, `s`, such as `@every 1h30m`"
        ],
    );
    check(
        json!({ "cron": "0 9 * * *", "tz": "Berlin" }),
        expect!["the time zone is not an IANA name, such as `Europe/Berlin`"],
    );
    check(
        json!("61 9 * * *"),
        expect!["the cron expression cannot be read: Component error: Number out of bounds."],
    );
    check(
        json!("every morning"),
        expect![
            "the cron expression cannot be read: Invalid pattern: Pattern must have between 5 and 7 fields."
        ],
    );
    check(
        json!("0 0 30 2 *"),
        expect!["the cron expression never comes true"],
    );
    check(
        json!("x".repeat(300)),
        expect!["metadata.schedule is longer than 256 bytes"],
    );
}

#[test]
fn a_late_look_skips_what_was_missed() {
    let sealed: Timestamp = SEALED.parse().unwrap();
    let late = Timestamp::from_micros(sealed.as_micros() + 95 * MICROS);
    let next = Schedule::Every { period_seconds: 30 }
        .next(sealed, late)
        .unwrap();
    assert_eq!(next.as_micros() - sealed.as_micros(), 120 * MICROS);
}
