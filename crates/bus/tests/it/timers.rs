//! BUS-9: timers are message schedules.

use std::time::{Duration, SystemTime};

use logline_bus::{Bus, Schedule, Timer, TimerDelivery, Token};
use logline_span::Timestamp;
use logline_testkit::{Nats, deadline};

use crate::support::{SOON, migrated};

fn token(text: &str) -> Token {
    text.parse().unwrap()
}

fn timer(id: &str, schedule: Schedule) -> Timer {
    Timer {
        tenant: "acme".parse().unwrap(),
        kind: token("observer"),
        id: token(id),
        schedule,
        body: format!("body of {id}").into(),
        traceparent: Some("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01".to_owned()),
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "what is tested is the server's clock, which is this machine's"
)]
fn now() -> Timestamp {
    let since = SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap();
    Timestamp::from_micros(i64::try_from(since.as_micros()).unwrap())
}

fn soon(ms: u64) -> Schedule {
    Schedule::At(now().saturating_add(Duration::from_millis(ms)))
}

async fn firing(due: &mut logline_bus::TimerDeliveries) -> TimerDelivery {
    let firing = deadline(SOON, due.next()).await.unwrap();
    firing.ack().await.unwrap();
    firing
}

async fn reader(bus: &Bus) -> logline_bus::TimerDeliveries {
    bus.due("test-timers", &token("observer")).await.unwrap()
}

#[tokio::test]
async fn a_timer_fires_once_at_its_instant_with_what_it_carries() {
    let nats = Nats::start().await;
    let bus = migrated(&nats).await;
    let mut due = reader(&bus).await;
    let wanted = now().saturating_add(Duration::from_millis(700));
    bus.set_timer(&timer("a.b/é", Schedule::At(wanted)))
        .await
        .unwrap();
    let fired = firing(&mut due).await;
    assert!(now() >= wanted, "never early");
    assert_eq!((fired.due, fired.next_due), (wanted, None));
    assert_eq!(
        (fired.tenant.as_str(), fired.id.as_str()),
        ("acme", "a.b/é")
    );
    assert_eq!(fired.body, "body of a.b/é");
    assert!(fired.traceparent.unwrap().starts_with("00-4bf9"));
    let more = tokio::time::timeout(Duration::from_secs(1), due.next()).await;
    assert!(more.is_err());
}

#[tokio::test]
async fn an_instant_that_is_past_fires_at_once() {
    let nats = Nats::start().await;
    let bus = migrated(&nats).await;
    let past = Timestamp::from_micros(1_600_000_000_000_000);
    bus.set_timer(&timer("late", Schedule::At(past)))
        .await
        .unwrap();
    assert_eq!(firing(&mut reader(&bus).await).await.due, past);
}

#[tokio::test]
async fn setting_a_timer_again_replaces_it_and_cancelling_removes_it() {
    let nats = Nats::start().await;
    let bus = migrated(&nats).await;
    let mut due = reader(&bus).await;
    bus.set_timer(&timer("x", soon(800))).await.unwrap();
    bus.set_timer(&timer("x", soon(1500))).await.unwrap();
    let replaced = soon(1600);
    bus.set_timer(&timer("x", replaced.clone())).await.unwrap();
    bus.set_timer(&timer("cancelled", soon(900))).await.unwrap();
    let tenant = "acme".parse().unwrap();
    for id in ["cancelled", "never set"] {
        bus.cancel_timer(&tenant, &token("observer"), &token(id))
            .await
            .unwrap();
    }
    let fired = firing(&mut due).await;
    assert_eq!(Schedule::At(fired.due), replaced);
    let more = tokio::time::timeout(Duration::from_secs(1), due.next()).await;
    assert!(more.is_err());
}

#[tokio::test]
async fn a_period_fires_again_and_says_for_which_instant() {
    let nats = Nats::start().await;
    let bus = migrated(&nats).await;
    let mut due = reader(&bus).await;
    let every = Schedule::Every(Duration::from_secs(1));
    bus.set_timer(&timer("tick", every)).await.unwrap();
    let first = firing(&mut due).await;
    let second = firing(&mut due).await;
    assert_eq!(first.next_due, Some(second.due));
    assert_eq!(second.due.as_micros() - first.due.as_micros(), 1_000_000);
    assert!(now() >= second.due);
}

#[tokio::test]
async fn cron_counts_in_its_zone() {
    let nats = Nats::start().await;
    let bus = migrated(&nats).await;
    let mut due = reader(&bus).await;
    for (id, tz) in [("utc", None), ("berlin", Some("Europe/Berlin".to_owned()))] {
        let cron = Schedule::Cron {
            expr: "*/2 * * * * *".to_owned(),
            tz,
        };
        bus.set_timer(&timer(id, cron)).await.unwrap();
    }
    for _ in 0..4 {
        let fired = firing(&mut due).await;
        let next = fired.next_due.unwrap().as_micros();
        assert_eq!(next - fired.due.as_micros(), 2_000_000, "{}", fired.id);
        assert_eq!(fired.due.as_micros() % 2_000_000, 0);
    }
}

#[tokio::test]
async fn a_schedule_that_the_server_does_not_know_is_refused() {
    let nats = Nats::start().await;
    let bus = migrated(&nats).await;
    let cron = |expr: &str, tz: &str| Schedule::Cron {
        expr: expr.to_owned(),
        tz: Some(tz.to_owned()),
    };
    for schedule in [
        cron("whenever", "UTC"),
        cron("0 0 0 * * *", "Europe/Atlantis"),
        Schedule::Every(Duration::from_millis(10)),
    ] {
        let refused = bus.set_timer(&timer("x", schedule.clone())).await;
        assert!(
            matches!(refused, Err(logline_bus::Error::Refused { .. })),
            "{schedule:?}: {refused:?}"
        );
    }
}

#[tokio::test]
async fn timers_that_fell_due_while_the_server_was_away_fire_when_it_is_back() {
    let nats = Nats::start().await;
    let bus = migrated(&nats).await;
    let mut due = reader(&bus).await;
    let schedule = soon(300);
    bus.set_timer(&timer("x", schedule.clone())).await.unwrap();
    nats.kill().await;
    nats.restart().await.unwrap();
    let fired = firing(&mut due).await;
    assert_eq!(Schedule::At(fired.due), schedule);
}
