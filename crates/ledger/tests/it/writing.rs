use std::time::Duration;

use logline_ledger::{
    CommitError, Disposition, Error, Fingerprint, Outcome, OutcomeKind, StoredOutcome, Wanted,
};
use logline_span::{Code, Head, Position, Refusal, Seq, SigningKey, SpanId, Timestamp, Visibility};
use proptest::prelude::*;
use proptest::strategy::ValueTree as _;
use proptest::test_runner::TestRunner;
use sqlx::postgres::PgListener;
use uuid::Uuid;

use crate::support::{Ledger, fingerprint, json, next, person, principal, span, tenant, with};

fn text() -> impl Strategy<Value = String> {
    proptest::collection::vec(
        any::<char>().prop_filter("no U+0000", |c| *c != '\0'),
        0..12,
    )
    .prop_map(|chars| chars.into_iter().collect())
}

fn free() -> impl Strategy<Value = serde_json::Value> {
    let leaf = prop_oneof![
        any::<bool>().prop_map(serde_json::Value::from),
        (-9_007_199_254_740_991_i64..=9_007_199_254_740_991).prop_map(serde_json::Value::from),
        any::<f64>()
            .prop_filter("finite", |f| f.is_finite())
            .prop_map(serde_json::Value::from),
        text().prop_map(serde_json::Value::from),
    ];
    leaf.prop_recursive(3, 12, 4, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..4).prop_map(serde_json::Value::from),
            proptest::collection::hash_map(text(), inner, 0..4)
                .prop_map(|map| serde_json::Value::Object(map.into_iter().collect())),
        ]
    })
}

/// SPAN-8: what is read back is what was sealed, to the byte, over spans with any content.
#[tokio::test(flavor = "multi_thread")]
async fn a_span_survives_storage_unchanged() {
    let ledger = Ledger::fresh().await;
    let mut sealer = ledger.sealer().await;
    let mut runner = TestRunner::deterministic();
    let key = SigningKey::from_seed(&[9; 32]);
    let strategy = (
        proptest::collection::vec(proptest::option::of(free()), 5),
        proptest::collection::vec(proptest::option::of(text()), 8),
        proptest::collection::vec(any::<u128>(), 0..4),
        proptest::option::of(0..=i32::MAX.cast_unsigned()),
        any::<bool>(),
        0..4_102_444_800_000_000_i64,
    );
    for _ in 0..20 {
        let spans = (0..16)
            .map(|_| {
                let (values, texts, related, duration, signed, at) =
                    strategy.new_tree(&mut runner).unwrap().current();
                with(span("acme", "alice"), |span| {
                    let mut values = values.into_iter().map(|value| {
                        value.map(|value| logline_span::Json::from_value(&value).unwrap())
                    });
                    let mut texts = texts.into_iter();
                    span.input = values.next().flatten();
                    span.output = values.next().flatten();
                    span.error = values.next().flatten();
                    span.content = values.next().flatten();
                    span.metadata = values.next().flatten();
                    span.did = texts.next().flatten();
                    span.name = texts.next().flatten();
                    span.description = texts.next().flatten();
                    span.code = texts.next().flatten();
                    span.language = texts.next().flatten();
                    span.runtime = texts.next().flatten();
                    span.related_to = related
                        .into_iter()
                        .flat_map(|id| [id, id])
                        .map(|id| SpanId::from_uuid(Uuid::from_u128(id)))
                        .collect();
                    span.duration_ms = duration;
                    span.is_deleted = signed;
                    span.at = Timestamp::from_micros(at);
                    span.parent_id = Some(span.id);
                    span.caused_by = signed.then_some(span.id);
                    if signed {
                        span.signature = Some(key.sign_content(&span.content_hash()));
                        span.public_key = Some(key.public_key());
                    }
                })
            })
            .collect();
        let first = sealer.state.timeline_seq + 1;
        let sealed = sealer.seal(spans).await;
        let stored = sealer.writer.timeline_from(first, 1000).await.unwrap();
        assert_eq!(stored.len(), sealed.len());
        for (sealed, (_, stored, _)) in sealed.into_iter().zip(stored) {
            assert_eq!(stored, sealed);
            assert_eq!(stored.to_json(), sealed.to_json());
        }
    }
    let report = ledger
        .verifier()
        .verify(&logline_ledger::Scope::default(), |_| ())
        .await
        .unwrap();
    assert!(report.ok, "{:?}", report.failures);
    assert_eq!(report.checked, 320);
}

/// LED-13
#[tokio::test(flavor = "multi_thread")]
async fn whoever_takes_the_shard_over_is_the_only_one_to_write() {
    let ledger = Ledger::fresh().await;
    let mut first = ledger.sealer().await;
    first.seal(vec![span("acme", "alice")]).await;
    let second = ledger.writer();
    let state = second.acquire(0).await.unwrap();
    assert!(state.epoch > first.state.epoch);
    assert_eq!(
        (state.ingest_seq, state.ingest, state.timeline_seq),
        (1, Some(fingerprint(1)), 1)
    );

    let (batch, _) = first.prepare(vec![span("acme", "alice")]);
    let stale = first.writer.commit(&batch).await;
    assert!(
        matches!(
            stale,
            Err(CommitError::Fenced | CommitError::Unavailable(_))
        ),
        "{stale:?}"
    );
    assert!(matches!(
        first.writer.resume(0, first.state.epoch).await,
        Err(Error::Fenced)
    ));

    let mut third = ledger.sealer().await;
    let stale = second
        .commit(&logline_ledger::Batch {
            epoch: state.epoch,
            ..batch.clone()
        })
        .await;
    assert!(
        matches!(
            stale,
            Err(CommitError::Fenced | CommitError::Unavailable(_))
        ),
        "{stale:?}"
    );
    third.heads = first.heads.clone();
    third.seal(vec![span("acme", "alice")]).await;
    assert_eq!(
        third.writer.heads(&[tenant("acme")]).await.unwrap()[&tenant("acme")].position,
        2
    );
}

/// A stalled owner's open transaction holds locks on the very rows that its successor seals again.
#[tokio::test(flavor = "multi_thread")]
async fn taking_over_does_not_wait_for_a_stalled_owner() {
    let ledger = Ledger::fresh().await;
    let stalled = ledger.sealer().await;
    let mut admin = ledger.admin().await;
    // A connection whose owner stopped after the first statement of its transaction.
    let mut owner = ledger.login(logline_ledger::Role::Projector).await;
    let pid: i32 = sqlx::query_scalar("select pg_backend_pid()")
        .fetch_one(&mut owner)
        .await
        .unwrap();
    sqlx::query(
        "update ledger.shard set holder_pid = $1, holder_since = (select backend_start from pg_stat_activity where pid = $1)",
    )
    .bind(pid)
    .execute(&mut admin)
    .await
    .unwrap();
    sqlx::raw_sql("begin; update ledger.shard set ingest_seq = ingest_seq where shard = 0")
        .execute(&mut owner)
        .await
        .unwrap();
    let taken = logline_testkit::deadline(Duration::from_secs(10), ledger.writer().acquire(0))
        .await
        .unwrap();
    assert!(taken.epoch > stalled.state.epoch);
}

/// LED-11
#[tokio::test(flavor = "multi_thread")]
async fn a_conflict_leaves_nothing_of_its_batch_and_the_writer_usable() {
    let ledger = Ledger::fresh().await;
    let mut sealer = ledger.sealer().await;
    let sealed = sealer.seal_one(span("acme", "alice")).await;
    let (batch, _) = sealer.prepare(vec![span("acme", "alice"), sealed.span.clone()]);
    let conflict = sealer.writer.commit(&batch).await.unwrap_err();
    assert!(matches!(conflict, CommitError::Conflict(_)), "{conflict:?}");
    assert_eq!(conflict.disposition(), Disposition::Retry);
    assert_eq!(
        sealer.writer.heads(&[tenant("acme")]).await.unwrap()[&tenant("acme")].position,
        1
    );
    sealer.seal(vec![span("acme", "alice")]).await;

    let keyed = |key: &str| {
        with(span("acme", "alice"), |span| {
            span.idempotency_key = Some(key.to_owned())
        })
    };
    sealer.seal(vec![keyed("a")]).await;
    let (batch, _) = sealer.prepare(vec![keyed("a")]);
    assert!(matches!(
        sealer.writer.commit(&batch).await,
        Err(CommitError::Conflict(_))
    ));
    let (batch, _) = sealer.prepare(vec![with(keyed("a"), |span| {
        span.owner_id = principal("bob")
    })]);
    sealer.writer.commit(&batch).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_connection_leaves_a_state_that_tells_what_was_committed() {
    let ledger = Ledger::fresh().await;
    let mut sealer = ledger.sealer().await;
    let mut admin = ledger.admin().await;
    for expected in 0..3 {
        let (batch, heads) = sealer.prepare(vec![span("acme", "alice")]);
        sqlx::query("select pg_terminate_backend(holder_pid) from ledger.shard")
            .execute(&mut admin)
            .await
            .unwrap();
        let lost = sealer.writer.commit(&batch).await.unwrap_err();
        assert!(matches!(lost, CommitError::Unavailable(_)), "{lost:?}");
        sealer.state = sealer.writer.resume(0, sealer.state.epoch).await.unwrap();
        assert_eq!(sealer.state.ingest_seq, expected);
        let batch = logline_ledger::Batch {
            epoch: sealer.state.epoch,
            ..batch
        };
        sealer.commit(&batch, heads).await.unwrap();
    }
}

/// A pool whose connections died with a restarted server still answers.
#[tokio::test(flavor = "multi_thread")]
async fn reads_survive_connections_that_died() {
    let ledger = Ledger::fresh().await;
    let writer = ledger.writer();
    let mut admin = ledger.admin().await;
    for _ in 0..3 {
        let (one, two) = tokio::join!(writer.log_name(), writer.log_name());
        assert_eq!(one.unwrap(), two.unwrap());
        sqlx::query("select pg_terminate_backend(pid) from pg_stat_activity where datname = current_database() and pid <> pg_backend_pid()")
            .execute(&mut admin)
            .await
            .unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_writer_finds_what_a_batch_would_repeat() {
    let ledger = Ledger::fresh().await;
    let mut sealer = ledger.sealer().await;
    let keyed = with(span("acme", "alice"), |span| {
        span.idempotency_key = Some("k".to_owned())
    });
    let first = sealer.seal_one(keyed).await;
    let second = sealer
        .seal_one(next(&first, |span| span.idempotency_key = None))
        .await;
    let wanted = |tenant_name: &str, owner: &str, id, key: Option<&str>| Wanted {
        tenant: tenant(tenant_name),
        owner: principal(owner),
        id,
        key: key.map(str::to_owned),
    };
    let fresh = SpanId::from_uuid(Uuid::now_v7());
    let existing = sealer
        .writer
        .existing(&[
            wanted("acme", "alice", first.span.id, None),
            wanted("other", "alice", first.span.id, Some("k")),
            wanted("acme", "bob", fresh, Some("k")),
            wanted("acme", "alice", fresh, Some("k")),
        ])
        .await
        .unwrap();
    assert_eq!(existing.by_id.len(), 1);
    assert_eq!(
        existing.by_id[&(tenant("acme"), first.span.id)].seq,
        second.span.seq
    );
    assert_eq!(existing.by_key.len(), 1);
    let holder = existing.by_key[&(tenant("acme"), principal("alice"), "k".to_owned())];
    assert_eq!(
        (holder.id, holder.seq, holder.position),
        (first.span.id, Seq::ZERO, first.position)
    );
    assert_eq!(
        (holder.at, holder.curr_hash),
        (first.span.at, first.curr_hash)
    );

    let heads = sealer
        .writer
        .heads(&[tenant("acme"), tenant("other")])
        .await
        .unwrap();
    let head = Head {
        position: 2,
        hash: second.curr_hash,
        received_at: second.received_at,
    };
    assert_eq!(
        heads.into_iter().collect::<Vec<_>>(),
        [(tenant("acme"), head)]
    );

    let actors = ledger.actors();
    assert_eq!(
        actors.latest(&tenant("acme"), first.span.id).await.unwrap(),
        Some(second.clone())
    );
    assert_eq!(
        actors
            .as_of(&tenant("acme"), first.span.id, second.position)
            .await
            .unwrap(),
        Some(first.clone())
    );
    assert_eq!(
        actors
            .as_of(&tenant("acme"), first.span.id, first.position)
            .await
            .unwrap(),
        None
    );
    assert_eq!(
        actors
            .latest(&tenant("other"), first.span.id)
            .await
            .unwrap(),
        None
    );

    assert_eq!(
        sealer.writer.timeline_from(2, 10).await.unwrap(),
        [(2, second, 3)]
    );
    assert_eq!(
        sealer.writer.timeline_from(1, 1).await.unwrap(),
        [(1, first, 3)]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn every_message_has_an_outcome_for_its_publisher_alone() {
    let ledger = Ledger::fresh().await;
    let mut sealer = ledger.sealer().await;
    let (mut batch, heads) = sealer.prepare(vec![span("acme", "alice")]);
    let refusal = Refusal::new(Code::ALL[0], "why").at("/who");
    for (ingest_seq, result) in [
        (2, OutcomeKind::Repeat(Position::FIRST)),
        (3, OutcomeKind::Refused(refusal.clone())),
    ] {
        batch.answered.push(Outcome {
            ingest_seq,
            fingerprint: fingerprint(ingest_seq),
            tenant: Some(tenant("acme")),
            owner: Some(principal("alice")),
            result,
        });
    }
    batch.answered.push(Outcome {
        ingest_seq: 4,
        fingerprint: fingerprint(4),
        tenant: None,
        owner: None,
        result: OutcomeKind::Refused(refusal.clone()),
    });
    batch.through_ingest_seq = 4;
    batch.through = Some(fingerprint(4));
    sealer.commit(&batch, heads).await.unwrap();

    let sealed = &batch.rows[0].sealed;
    let receipt = |duplicate| StoredOutcome::Sealed {
        id: sealed.span.id,
        seq: sealed.span.seq,
        at: sealed.span.at,
        position: sealed.position,
        curr_hash: sealed.curr_hash,
        duplicate,
    };
    let expected = [
        receipt(false),
        receipt(true),
        StoredOutcome::Refused(refusal.clone()),
    ];
    let reader = ledger.reader();
    for (outcome, ingest_seq) in expected.into_iter().zip(1..) {
        let at = fingerprint(ingest_seq);
        assert_eq!(
            sealer.writer.outcome(ingest_seq, at).await.unwrap(),
            Some(outcome.clone())
        );
        let alice = reader.as_reader(Some(&person("acme", "alice")));
        assert_eq!(
            alice.outcome(ingest_seq, at.digest).await.unwrap(),
            Some(outcome)
        );
        for other in [
            Some(person("acme", "bob")),
            Some(person("other", "alice")),
            None,
        ] {
            assert_eq!(
                reader
                    .as_reader(other.as_ref())
                    .outcome(ingest_seq, at.digest)
                    .await
                    .unwrap(),
                None
            );
        }
        // LED-17: the number alone names nothing, nor does what was said.
        let later = Fingerprint {
            time_ns: at.time_ns + 1,
            ..at
        };
        for another in [fingerprint(99), later] {
            assert_eq!(
                sealer.writer.outcome(ingest_seq, another).await.unwrap(),
                None
            );
        }
    }
    assert_eq!(
        sealer.writer.outcome(4, fingerprint(4)).await.unwrap(),
        Some(StoredOutcome::Refused(refusal))
    );
}

/// SQL-1
#[tokio::test(flavor = "multi_thread")]
async fn a_batch_sends_one_small_notice_per_tenant() {
    let ledger = Ledger::fresh().await;
    let mut listener = PgListener::connect(&ledger.database.url()).await.unwrap();
    listener.listen("timeline_updates").await.unwrap();
    let mut sealer = ledger.sealer().await;
    let big = json(&format!("\"{}\"", "x".repeat(9_000)));
    let spans = (0..30)
        .map(|nth| {
            with(
                span(["acme", "other"][usize::from(nth % 3 == 0)], "alice"),
                |span| {
                    span.content.clone_from(&big);
                    span.visibility = Visibility::Public;
                },
            )
        })
        .collect();
    sealer.seal(spans).await;
    sealer.seal(vec![span("acme", "alice")]).await;
    let mut notices = Vec::new();
    for _ in 0..3 {
        let notice = logline_testkit::deadline(Duration::from_secs(10), listener.recv())
            .await
            .unwrap();
        notices.push(notice.payload().to_owned());
    }
    notices[..2].sort();
    assert_eq!(
        notices,
        [
            r#"{"tenant":"acme","first":1,"last":20}"#,
            r#"{"tenant":"other","first":1,"last":10}"#,
            r#"{"tenant":"acme","first":21,"last":21}"#,
        ]
    );
}

/// Only what a row holds condemns it: an operator's mistake does not.
#[tokio::test(flavor = "multi_thread")]
async fn a_database_out_of_order_refuses_no_batch() {
    let ledger = Ledger::fresh().await;
    let mut sealer = ledger.sealer().await;
    let mut admin = ledger.admin().await;
    for (broken, mended) in [
        (
            "revoke insert on ledger.span from logline_projector",
            "grant insert on ledger.span to logline_projector",
        ),
        (
            "alter table ledger.edge rename to elsewhere",
            "alter table ledger.elsewhere rename to edge",
        ),
        (
            "alter table ledger.intake rename column depth to elsewhere",
            "alter table ledger.intake rename column elsewhere to depth",
        ),
    ] {
        sqlx::raw_sql(broken).execute(&mut admin).await.unwrap();
        let span = with(span("acme", "alice"), |span| {
            span.related_to = vec![span.id]
        });
        let (batch, heads) = sealer.prepare(vec![span]);
        let outcome = sealer.writer.commit(&batch).await;
        assert!(
            matches!(outcome, Err(CommitError::Unavailable(_))),
            "{broken}: {outcome:?}"
        );
        sqlx::raw_sql(mended).execute(&mut admin).await.unwrap();
        sealer.state = sealer.writer.resume(0, sealer.state.epoch).await.unwrap();
        let batch = logline_ledger::Batch {
            epoch: sealer.state.epoch,
            ..batch
        };
        sealer.commit(&batch, heads).await.unwrap();
    }
    sqlx::raw_sql(
        "alter table ledger.span add constraint content check (this <> 'door') not valid",
    )
    .execute(&mut admin)
    .await
    .unwrap();
    let (batch, _) = sealer.prepare(vec![span("acme", "alice")]);
    let refused = sealer.writer.commit(&batch).await;
    assert!(
        matches!(refused, Err(CommitError::Refused(_))),
        "{refused:?}"
    );
}
