//! The projector's intake: order, gaps, repeats, take-over (LED-11, LED-13, LED-17, BUS-8).

use std::time::{Duration, Instant};

use logline_bus::{Error, Incoming};
use logline_testkit::{Nats, deadline};

use crate::support::{SOON, connect, ingest, intake_config, json, migrated, publish, read};

#[tokio::test]
async fn messages_come_in_order_and_as_soon_as_there_is_one() {
    let nats = Nats::start().await;
    let bus = migrated(&nats).await;
    let mut intake = bus.intake(intake_config()).await.unwrap();
    intake.claim().await.unwrap();
    publish(&bus, 50).await;
    assert_eq!(
        deadline(SOON, read(&mut intake, 50, 1)).await,
        (1..=50).collect::<Vec<_>>()
    );

    // An idle intake answers at the first message, whatever may come after it.
    let (messages, ()) = deadline(SOON, async {
        tokio::join!(intake.next(1000, Duration::ZERO, 51), publish(&bus, 1))
    })
    .await;
    assert_eq!(messages.unwrap().len(), 1);
}

#[tokio::test]
async fn a_call_hands_out_no_more_than_it_was_asked_for() {
    let nats = Nats::start().await;
    let bus = migrated(&nats).await;
    publish(&bus, 10).await;
    let mut intake = bus.intake(intake_config()).await.unwrap();
    let mut sizes = Vec::new();
    let mut from = 1;
    while from <= 10 {
        // With time to fill up, each call is as large as may be.
        let messages = deadline(SOON, intake.next(4, SOON, from)).await.unwrap();
        from += messages.len() as u64;
        sizes.push(messages.len());
        if from == 9 {
            let last = deadline(SOON, intake.next(2, SOON, from)).await.unwrap();
            from += last.len() as u64;
            sizes.push(last.len());
        }
    }
    assert_eq!(sizes, [4, 4, 2]);
}

#[tokio::test]
async fn a_dropped_call_loses_nothing() {
    let nats = Nats::start().await;
    let bus = migrated(&nats).await;
    let mut intake = bus.intake(intake_config()).await.unwrap();
    publish(&bus, 3).await;
    // The linger never ends, so each of these is dropped with messages in its hands.
    for _ in 0..3 {
        let call = intake.next(1000, SOON, 1);
        assert!(
            tokio::time::timeout(Duration::from_millis(200), call)
                .await
                .is_err()
        );
    }
    assert_eq!(deadline(SOON, read(&mut intake, 3, 1)).await, [1, 2, 3]);
}

#[tokio::test]
async fn what_is_acknowledged_stays_away_and_the_rest_comes_again() {
    let nats = Nats::start().await;
    let bus = migrated(&nats).await;
    publish(&bus, 10).await;
    let mut intake = bus.intake(intake_config()).await.unwrap();
    deadline(SOON, read(&mut intake, 10, 1)).await;
    intake.ack_through(6).await.unwrap();
    intake.release().await.unwrap();

    let mut next = bus.intake(intake_config()).await.unwrap();
    let mut again = Vec::new();
    let mut last = 0;
    publish(&bus, 1).await;
    // The ledger has sealed up to 8: 7 and 8 are repeats, whose receipts are wanted again.
    while !(again == [7, 8] && last == 11) {
        let messages: Vec<Incoming> =
            deadline(SOON, next.next(100, Duration::ZERO, 9.max(last + 1)))
                .await
                .unwrap();
        for message in messages {
            if message.again {
                again.push(message.seq);
            } else {
                last = message.seq;
            }
        }
    }
}

#[tokio::test]
async fn a_call_may_step_back_after_a_failed_batch() {
    let nats = Nats::start().await;
    let bus = migrated(&nats).await;
    publish(&bus, 20).await;
    let mut intake = bus.intake(intake_config()).await.unwrap();
    assert_eq!(deadline(SOON, read(&mut intake, 20, 1)).await.len(), 20);
    let started = Instant::now();
    assert_eq!(
        deadline(SOON, read(&mut intake, 15, 6)).await,
        (6..=20).collect::<Vec<_>>()
    );
    assert!(
        started.elapsed() < intake_config().ack_wait,
        "it does not wait for another delivery"
    );
}

#[tokio::test]
async fn what_a_predecessor_was_given_is_brought_without_waiting_for_another_delivery() {
    let nats = Nats::start().await;
    let bus = migrated(&nats).await;
    publish(&bus, 20).await;
    let mut intake = bus.intake(intake_config()).await.unwrap();
    deadline(SOON, read(&mut intake, 20, 1)).await;
    intake.ack_through(5).await.unwrap();
    intake.release().await.unwrap();
    let started = Instant::now();
    let mut intake = bus.intake(intake_config()).await.unwrap();
    deadline(SOON, intake.claim()).await.unwrap();
    assert_eq!(
        deadline(SOON, read(&mut intake, 15, 6)).await,
        (6..=20).collect::<Vec<_>>()
    );
    assert!(started.elapsed() < intake_config().ack_wait);
}

#[tokio::test]
async fn what_the_consumer_believes_done_is_brought_when_the_ledger_says_otherwise() {
    let nats = Nats::start().await;
    let bus = migrated(&nats).await;
    publish(&bus, 10).await;
    let mut intake = bus.intake(intake_config()).await.unwrap();
    deadline(SOON, read(&mut intake, 10, 1)).await;
    intake.ack_through(10).await.unwrap();
    intake.release().await.unwrap();
    // Postgres came back from a backup which knows of four messages.
    let mut intake = bus.intake(intake_config()).await.unwrap();
    deadline(SOON, intake.claim()).await.unwrap();
    assert_eq!(
        deadline(SOON, read(&mut intake, 6, 5)).await,
        (5..=10).collect::<Vec<_>>()
    );
}

#[tokio::test]
async fn what_was_purged_is_passed() {
    let nats = Nats::start().await;
    let bus = migrated(&nats).await;
    publish(&bus, 10).await;
    bus.purge_ingest(8).await.unwrap();
    let mut intake = bus.intake(intake_config()).await.unwrap();
    assert_eq!(deadline(SOON, read(&mut intake, 3, 1)).await, [8, 9, 10]);
    // And where nothing is left at all.
    deadline(SOON, read(&mut intake, 1, 10)).await;
    bus.purge_ingest(11).await.unwrap();
    publish(&bus, 1).await;
    assert_eq!(deadline(SOON, read(&mut intake, 1, 11)).await, [11]);
}

/// PinnedClient together with AckAll: one process stops pulling, the other goes on within seconds and loses nothing.
#[tokio::test]
async fn another_process_takes_over_where_one_falls_silent() {
    let nats = Nats::start().await;
    let (one, other) = (migrated(&nats).await, connect(&nats).await);
    publish(&one, 30).await;
    let mut first = one.intake(intake_config()).await.unwrap();
    first.claim().await.unwrap();
    assert_eq!(deadline(SOON, read(&mut first, 30, 1)).await.len(), 30);
    first.ack_through(10).await.unwrap();

    let mut second = other.intake(intake_config()).await.unwrap();
    let claim = tokio::time::timeout(Duration::from_millis(700), async {
        tokio::select! {
            claimed = second.claim() => claimed.unwrap(),
            held = first.hold() => panic!("{held:?}"),
        }
    });
    assert!(
        claim.await.is_err(),
        "while one holds the pin, nobody else gets it"
    );

    // The first stops without a word. Its messages 11 to 30 were delivered and not acknowledged.
    let stopped = Instant::now();
    let released = first.released();
    publish(&other, 5).await;
    deadline(SOON, second.claim()).await.unwrap();
    let taken_over = stopped.elapsed();
    assert_eq!(
        deadline(SOON, read(&mut second, 25, 11)).await,
        (11..=35).collect::<Vec<_>>()
    );
    assert!(taken_over < Duration::from_secs(6), "{taken_over:?}");
    second.ack_through(35).await.unwrap();

    // The first one wakes up and learns of it.
    let woken = deadline(SOON, first.next(10, Duration::ZERO, 31)).await;
    assert!(matches!(woken, Err(Error::PinLost)), "{woken:?}");
    deadline(SOON, released).await;
}

#[tokio::test]
async fn a_pin_given_up_passes_at_once() {
    let nats = Nats::start().await;
    let (one, other) = (migrated(&nats).await, connect(&nats).await);
    publish(&one, 1).await;
    let patient = logline_bus::IntakeConfig {
        take_over: Duration::from_secs(60),
        ..intake_config()
    };
    let mut first = one.intake(patient).await.unwrap();
    deadline(SOON, read(&mut first, 1, 1)).await;
    first.ack_through(1).await.unwrap();
    first.release().await.unwrap();
    let mut second = other.intake(patient).await.unwrap();
    deadline(SOON, second.claim()).await.unwrap();
    publish(&one, 1).await;
    assert_eq!(deadline(SOON, read(&mut second, 1, 2)).await, [2]);
}

#[tokio::test]
async fn holding_keeps_the_pin_and_what_comes_meanwhile() {
    let nats = Nats::start().await;
    let bus = migrated(&nats).await;
    let small = logline_bus::IntakeConfig {
        batch_max: 4,
        ..intake_config()
    };
    let mut intake = bus.intake(small).await.unwrap();
    publish(&bus, 1).await;
    deadline(SOON, read(&mut intake, 1, 1)).await;
    let released = intake.released();
    publish(&bus, 40).await;
    // Three times as long as the pin would live.
    let held = tokio::time::timeout(Duration::from_secs(6), intake.hold()).await;
    assert!(held.is_err(), "{held:?}");
    assert!(
        tokio::time::timeout(Duration::ZERO, released)
            .await
            .is_err()
    );
    assert_eq!(
        deadline(SOON, read(&mut intake, 40, 2)).await,
        (2..=41).collect::<Vec<_>>()
    );
}

#[tokio::test]
async fn the_intake_goes_on_after_the_server_was_killed() {
    let nats = Nats::start().await;
    let bus = migrated(&nats).await;
    let mut intake = bus.intake(intake_config()).await.unwrap();
    publish(&bus, 5).await;
    deadline(SOON, read(&mut intake, 5, 1)).await;
    intake.ack_through(3).await.unwrap();
    nats.kill().await;
    nats.restart().await.unwrap();
    let publisher = connect(&nats).await;
    deadline(SOON, async {
        while publisher.ingest_state().await.is_err() {}
        publish(&publisher, 5).await;
        let mut from = 6;
        while from <= 10 {
            match intake.next(100, Duration::ZERO, from).await {
                Ok(messages) => from += messages.iter().filter(|it| !it.again).count() as u64,
                Err(Error::PinLost) => intake.claim().await.unwrap(),
                Err(error) => panic!("{error:?}"),
            }
        }
    })
    .await;
}

/// BUS-2: the publisher may miss its receipt as the bus missed the acknowledgement.
#[tokio::test]
async fn what_is_delivered_again_after_it_was_acknowledged_comes_again() {
    let nats = Nats::start().await;
    let bus = migrated(&nats).await;
    publish(&bus, 3).await;
    let mut intake = bus.intake(intake_config()).await.unwrap();
    deadline(SOON, read(&mut intake, 3, 1)).await;
    intake.ack_through(3).await.unwrap();
    // Without its consumer the bus has forgotten that anything was acknowledged.
    let consumer = ["consumer", "rm", "--force", "INGEST", "projector-0"];
    crate::support::nats_cli(&nats, &consumer).await.unwrap();
    let mut again = std::collections::BTreeSet::new();
    while again.len() < 3 {
        match deadline(SOON, intake.next(100, Duration::ZERO, 4)).await {
            Ok(messages) => {
                assert!(messages.iter().all(|it| it.again), "{messages:?}");
                again.extend(messages.iter().map(|it| it.seq));
            }
            // The pin went with the consumer.
            Err(Error::PinLost) => intake.claim().await.unwrap(),
            Err(error) => panic!("{error:?}"),
        }
    }
}

/// LED-17: the stream is made again with fewer messages than the consumer has seen.
#[tokio::test]
async fn numbers_that_the_bus_gives_again_are_told_and_then_read_again() {
    let nats = Nats::start().await;
    let bus = migrated(&nats).await;
    publish(&bus, 10).await;
    let mut intake = bus.intake(intake_config()).await.unwrap();
    deadline(SOON, read(&mut intake, 10, 1)).await;
    intake.ack_through(10).await.unwrap();
    crate::support::nats_cli(&nats, &["stream", "rm", "INGEST", "--force"])
        .await
        .unwrap();
    bus.migrate().await.unwrap();
    for n in 1..=4 {
        let other = format!(r#"{{"who":"bob","this":"window {n}"}}"#);
        bus.publish(&ingest("acme", "bob", "activity"), json(other))
            .await
            .unwrap();
    }
    let told = deadline(SOON, intake.next(100, Duration::ZERO, 11)).await;
    assert!(
        matches!(told, Err(Error::Forgotten { seq: 10 })),
        "{told:?}"
    );
    drop(intake);
    let mut intake = bus.intake(intake_config()).await.unwrap();
    deadline(SOON, intake.claim()).await.unwrap();
    let messages = deadline(SOON, async {
        let mut all: Vec<Incoming> = Vec::new();
        while all.len() < 4 {
            let from = all.len() as u64 + 1;
            match intake.next(100, Duration::ZERO, from).await {
                Ok(messages) => all.extend(messages),
                Err(Error::PinLost) => intake.claim().await.unwrap(),
                Err(error) => panic!("{error:?}"),
            }
        }
        all
    })
    .await;
    assert!(
        messages
            .iter()
            .all(|it| it.subject == Ok(ingest("acme", "bob", "activity")))
    );
}

/// LED-17: more messages came than were forgotten, so that the numbers alone look right.
#[tokio::test]
async fn a_message_under_the_number_of_another_one_is_not_passed_over() {
    let nats = Nats::start().await;
    let bus = migrated(&nats).await;
    publish(&bus, 3).await;
    let mut intake = bus.intake(intake_config()).await.unwrap();
    deadline(SOON, read(&mut intake, 3, 1)).await;
    intake.ack_through(3).await.unwrap();
    crate::support::nats_cli(&nats, &["stream", "rm", "INGEST", "--force"])
        .await
        .unwrap();
    bus.migrate().await.unwrap();
    for n in 1..=6 {
        let other = format!(r#"{{"who":"bob","this":"window {n}"}}"#);
        bus.publish(&ingest("acme", "bob", "activity"), json(other))
            .await
            .unwrap();
    }
    let told = deadline(SOON, intake.next(100, Duration::ZERO, 4)).await;
    assert!(matches!(told, Err(Error::Forgotten { seq: 3 })), "{told:?}");
}
