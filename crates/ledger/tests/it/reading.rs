use logline_ledger::{AsOf, Cursor, Error, Query, ReaderSession};
use logline_span::{Sealed, Seq, Span, SpanId, Timestamp, Visibility};

use crate::support::{Ledger, next, person, principal, span, tenant, time, with};

fn public(tenant: &str, owner: &str) -> Span {
    with(span(tenant, owner), |span| {
        span.visibility = Visibility::Public
    })
}

fn query() -> Query {
    Query {
        limit: 100,
        ..Query::default()
    }
}

async fn ids(session: &ReaderSession, query: &Query) -> Vec<SpanId> {
    session
        .timeline(query)
        .await
        .unwrap()
        .spans
        .iter()
        .map(|sealed| sealed.span.id)
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_go_from_the_newest_to_the_oldest_without_loss_or_repetition() {
    let ledger = Ledger::fresh().await;
    let mut sealer = ledger.sealer().await;
    for _ in 0..4 {
        let spans = (0..10)
            .map(|nth| match nth % 4 {
                0 => span("acme", "alice"),
                1 => public("other", "bob"),
                2 => public("acme", "bob"),
                _ => public("third", "alice"),
            })
            .collect();
        sealer.seal(spans).await;
    }
    let reader = ledger.reader();
    for identity in [
        Some(person("acme", "alice")),
        Some(person("nowhere", "x")),
        None,
    ] {
        let session = reader.as_reader(identity.as_ref());
        let whole = session.timeline(&query()).await.unwrap();
        assert!(whole.next.is_none());
        assert!(whole.spans.is_sorted_by(|a, b| {
            (a.received_at, &a.span.tenant_id, a.position)
                > (b.received_at, &b.span.tenant_id, b.position)
        }));
        for limit in [1, 3, 7] {
            let mut pages: Vec<Sealed> = Vec::new();
            let mut cursor = None;
            loop {
                let page = session
                    .timeline(&Query {
                        limit,
                        cursor,
                        ..query()
                    })
                    .await
                    .unwrap();
                assert!(page.spans.len() <= usize::try_from(limit).unwrap());
                pages.extend(page.spans);
                // A cursor travels as text.
                let Some(next) = page.next else { break };
                cursor = Some(next.to_string().parse::<Cursor>().unwrap());
            }
            assert_eq!(pages, whole.spans);
        }
    }
    for text in ["", "1.1", "x.1.acme", "1.0.acme", "1.1.ACME"] {
        assert!(text.parse::<Cursor>().is_err(), "{text}");
    }
}

type Change = fn(&mut Span, SpanId);

#[tokio::test(flavor = "multi_thread")]
async fn each_filter_narrows_and_all_hold_together() {
    let ledger = Ledger::fresh().await;
    let mut sealer = ledger.sealer().await;
    let target = span("acme", "alice").id;
    let changes: [(&str, Change); 8] = [
        ("entity_type", |span, _| {
            span.entity_type = "law.decision".parse().unwrap()
        }),
        ("owner_id", |span, _| span.owner_id = principal("bob")),
        ("who", |span, _| span.who = "carol".to_owned()),
        ("status", |span, _| {
            span.status = Some("active".parse().unwrap())
        }),
        ("parent_id", |span, target| span.parent_id = Some(target)),
        ("related_to", |span, target| {
            span.related_to = vec![span.id, target, target]
        }),
        ("at", |span, _| span.at = time(500)),
        ("none", |_, _| ()),
    ];
    let spans = changes
        .iter()
        .map(|(_, change)| with(public("acme", "alice"), |span| change(span, target)))
        .collect();
    let sealed = sealer.seal(spans).await;
    sealer.seal(vec![public("other", "alice")]).await;
    let reader = ledger.reader();
    for session in [
        reader.as_reader(Some(&person("acme", "alice"))),
        reader.as_reader(None),
    ] {
        let queries = [
            Query {
                entity_type: Some("law.decision".parse().unwrap()),
                ..query()
            },
            Query {
                owner_id: Some(principal("bob")),
                ..query()
            },
            Query {
                who: Some("carol".to_owned()),
                ..query()
            },
            Query {
                status: Some("active".parse().unwrap()),
                ..query()
            },
            Query {
                parent_id: Some(target),
                ..query()
            },
            Query {
                related_to: Some(target),
                ..query()
            },
            Query {
                since: Some(time(500)),
                until: Some(time(500)),
                ..query()
            },
            Query {
                trace_id: Some(sealed[7].span.trace_id),
                ..query()
            },
        ];
        for (nth, one) in queries.into_iter().enumerate() {
            assert_eq!(
                ids(&session, &one).await,
                [sealed[nth].span.id],
                "{}",
                changes[nth].0
            );
            let none = Query {
                who: Some("nobody".to_owned()),
                ..one
            };
            assert!(ids(&session, &none).await.is_empty());
        }
        assert_eq!(
            ids(
                &session,
                &Query {
                    tenant_id: Some(tenant("acme")),
                    ..query()
                }
            )
            .await
            .len(),
            8
        );
        assert_eq!(
            ids(
                &session,
                &Query {
                    tenant_id: Some(tenant("other")),
                    ..query()
                }
            )
            .await
            .len(),
            1
        );
        assert_eq!(
            ids(
                &session,
                &Query {
                    since: Some(time(501)),
                    ..query()
                }
            )
            .await
            .len(),
            0
        );
        assert_eq!(
            ids(
                &session,
                &Query {
                    until: Some(time(499)),
                    ..query()
                }
            )
            .await
            .len(),
            8
        );
    }
}

/// LED-3: a version replaces what readers see, also for those who may not read it.
#[tokio::test(flavor = "multi_thread")]
async fn only_latest_versions_are_seen_and_deleted_ones_are_not() {
    let ledger = Ledger::fresh().await;
    let mut sealer = ledger.sealer().await;
    let first = sealer.seal_one(public("acme", "alice")).await;
    let second = sealer
        .seal_one(next(&first, |span| span.visibility = Visibility::Private))
        .await;
    let gone = sealer.seal_one(public("acme", "alice")).await;
    let deleted = sealer
        .seal_one(next(&gone, |span| span.is_deleted = true))
        .await;

    let reader = ledger.reader();
    let alice = reader.as_reader(Some(&person("acme", "alice")));
    assert_eq!(
        alice.timeline(&query()).await.unwrap().spans,
        std::slice::from_ref(&second)
    );
    assert_eq!(
        alice.get(first.span.id, None, AsOf::Latest).await.unwrap(),
        Some(second.clone())
    );
    assert_eq!(
        alice
            .get(first.span.id, Some(Seq::ZERO), AsOf::Latest)
            .await
            .unwrap(),
        Some(first.clone())
    );
    assert_eq!(
        alice.get(gone.span.id, None, AsOf::Latest).await.unwrap(),
        Some(deleted)
    );
    for other in [
        Some(person("acme", "bob")),
        Some(person("other", "alice")),
        None,
    ] {
        let session = reader.as_reader(other.as_ref());
        assert!(session.timeline(&query()).await.unwrap().spans.is_empty());
        assert_eq!(
            session
                .get(first.span.id, None, AsOf::Latest)
                .await
                .unwrap(),
            None
        );
        assert_eq!(
            session
                .get(first.span.id, Some(Seq::ZERO), AsOf::Latest)
                .await
                .unwrap(),
            Some(first.clone())
        );
    }
    let rows: Vec<(i32, bool)> =
        sqlx::query_as("select seq, \"when\" = at from ledger.visible_timeline")
            .fetch_all(&mut ledger.admin().await)
            .await
            .unwrap();
    assert_eq!(rows, [(1, true)]);
}

/// LED-4
#[tokio::test(flavor = "multi_thread")]
async fn as_of_gives_what_was_sealed_then_and_nothing_unsealed() {
    let ledger = Ledger::fresh().await;
    let mut sealer = ledger.sealer().await;
    let empty = ledger
        .reader()
        .as_reader(None)
        .timeline(&query())
        .await
        .unwrap();
    assert_eq!((empty.spans.len(), empty.sealed_through), (0, None));

    let first = sealer.seal_one(public("acme", "alice")).await;
    let other = sealer.seal_one(public("other", "alice")).await;
    let second = sealer.seal_one(next(&first, |_| ())).await;
    let hidden = sealer
        .seal_one(next(&other, |span| span.is_deleted = true))
        .await;
    let just_before = |sealed: &Sealed| Timestamp::from_micros(sealed.received_at.as_micros() - 1);

    let reader = ledger.reader();
    let acme = reader.as_reader(Some(&person("acme", "alice")));
    let other_tenant = reader.as_reader(Some(&person("other", "alice")));
    for session in [&acme, &other_tenant, &reader.as_reader(None)] {
        let at = async |at| {
            let page = session
                .timeline(&Query {
                    as_of: AsOf::At(at),
                    ..query()
                })
                .await
                .unwrap();
            page.spans
                .into_iter()
                .map(|sealed| sealed.curr_hash)
                .collect::<Vec<_>>()
        };
        assert_eq!(at(just_before(&first)).await, []);
        assert_eq!(at(first.received_at).await, [first.curr_hash]);
        assert_eq!(
            at(just_before(&second)).await,
            [other.curr_hash, first.curr_hash]
        );
        assert_eq!(
            at(second.received_at).await,
            [second.curr_hash, other.curr_hash]
        );
        assert_eq!(
            at(just_before(&hidden)).await,
            [second.curr_hash, other.curr_hash]
        );
        let version = session
            .get(first.span.id, None, AsOf::At(just_before(&second)))
            .await
            .unwrap();
        assert_eq!(version, Some(first.clone()));

        let through = session
            .timeline(&query())
            .await
            .unwrap()
            .sealed_through
            .unwrap();
        assert!(through >= just_before(&hidden));
        let beyond = Timestamp::from_micros(through.as_micros() + 1);
        let refused = session
            .timeline(&Query {
                as_of: AsOf::At(beyond),
                ..query()
            })
            .await;
        assert!(
            matches!(refused, Err(Error::NotYetSealed { sealed_through: Some(at) }) if at == through),
            "{refused:?}"
        );
    }
    let own_end = other_tenant
        .timeline(&Query {
            as_of: AsOf::At(hidden.received_at),
            ..query()
        })
        .await
        .unwrap();
    assert_eq!(own_end.spans, [second]);
    assert_eq!(own_end.sealed_through, Some(hidden.received_at));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_id_is_looked_up_in_the_own_tenant_then_in_system_then_in_public() {
    let ledger = Ledger::fresh().await;
    let mut sealer = ledger.sealer().await;
    let id = span("acme", "alice").id;
    let same = |span: Span| with(span, |span| span.id = id);
    let sealed = sealer
        .seal(vec![
            same(public("zebra", "eve")),
            same(public("aardvark", "eve")),
        ])
        .await;
    let reader = ledger.reader();
    let seen = async |tenant: &str| {
        let found = reader
            .as_reader(Some(&person(tenant, "alice")))
            .get(id, None, AsOf::Latest)
            .await
            .unwrap();
        found.map(|sealed| sealed.span.tenant_id.to_string())
    };
    assert_eq!(
        seen("acme").await.as_deref(),
        Some("zebra"),
        "the first sealed cannot be undercut"
    );
    sealer.seal(vec![next(&sealed[0], |_| {})]).await;
    assert_eq!(
        seen("acme").await.as_deref(),
        Some("zebra"),
        "it stays the first with a later version"
    );
    sealer.seal(vec![same(public("system", "root"))]).await;
    assert_eq!(seen("acme").await.as_deref(), Some("system"));
    sealer.seal(vec![same(span("acme", "alice"))]).await;
    assert_eq!(seen("acme").await.as_deref(), Some("acme"));
    assert_eq!(seen("aardvark").await.as_deref(), Some("aardvark"));
}
