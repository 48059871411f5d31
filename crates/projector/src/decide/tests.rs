//! Deciding, against a ledger that is a list.

use bytes::Bytes;
use logline_bus::Incoming;
use logline_span::{Code, Encoding, Head};
use proptest::prelude::*;

use super::*;

const LOG: &str = "log.test";
/// 2026-01-01T00:00:00Z.
const START_NS: i64 = 1_767_225_600_000_000_000;

/// A message that the bus took `seq` milliseconds after the start.
fn message(seq: u64, subject: &str, body: &str) -> Incoming {
    Incoming {
        seq,
        time_ns: START_NS + i64::try_from(seq).unwrap() * 1_000_000,
        subject_text: subject.to_owned(),
        subject: subject.parse(),
        content_type: None,
        encoding: Ok(Encoding::Json),
        traceparent: None,
        receipt: None,
        depth: None,
        body: Bytes::from(body.to_owned()),
        stored_bytes: body.len() as u64,
        again: false,
    }
}

/// The whole way without servers: batches are decided, and committed some batches later.
struct Model {
    state: State,
    ledger: Vec<Arc<Sealed>>,
    in_flight: Vec<Vec<Arc<Sealed>>>,
    /// Batches that are decided before the oldest of them is committed.
    lag: usize,
    number: u64,
    committed: u64,
}

impl Model {
    fn new(lag: usize) -> Self {
        let (ledger, in_flight) = (Vec::new(), Vec::new());
        Self {
            state: State::new(Timestamp::from_micros(0), 1),
            ledger,
            in_flight,
            lag,
            number: 0,
            committed: 0,
        }
    }

    fn batch(&mut self, batch: &[Incoming]) -> Vec<Verdict> {
        while self.in_flight.len() > self.lag {
            self.ledger.extend(self.in_flight.remove(0));
            self.committed += 1;
        }
        self.state.overlay.forget_through(self.committed);
        self.state.heads.trim(self.committed);
        let messages: Vec<Message> = batch
            .iter()
            .map(|incoming| Message::read(incoming.clone(), &Limits::STANDARD, false))
            .collect();
        self.load_heads(&messages);
        let existing = self.existing(&wanted(&messages, false));
        let versions = repeated(&messages, &existing)
            .into_iter()
            .filter_map(|named| {
                let row = self.ledger.iter().find(|row| {
                    (&row.span.tenant_id, row.span.id, row.span.seq) == (&named.0, named.1, named.2)
                })?;
                Some((named, as_version(row)))
            })
            .collect();
        self.number += 1;
        let limits = Limits::STANDARD;
        let decided = decide(
            &mut self.state,
            self.number,
            messages,
            &existing,
            &versions,
            &limits,
        );
        let verdicts: Vec<Verdict> = decided.into_iter().map(|decided| decided.verdict).collect();
        let rows = verdicts.iter().filter_map(|verdict| match verdict {
            Verdict::Sealed { sealed, .. } => Some(Arc::clone(sealed)),
            Verdict::Repeat(_) | Verdict::Refused(_) => None,
        });
        self.in_flight.push(rows.collect());
        verdicts
    }

    fn load_heads(&mut self, messages: &[Message]) {
        for reading in messages
            .iter()
            .filter_map(|message| message.reading.as_ref().ok())
        {
            let tenant = &reading.tenant;
            if !self.state.heads.knows(tenant) {
                let last = self
                    .ledger
                    .iter()
                    .rfind(|row| row.span.tenant_id == *tenant);
                let head = last.map_or_else(
                    || Head::genesis(&format!("{LOG}/{tenant}")),
                    |row| Head {
                        position: row.position.get(),
                        hash: row.curr_hash,
                        received_at: row.received_at,
                    },
                );
                self.state.heads.load(tenant.clone(), head, self.number);
            }
        }
    }

    fn existing(&self, wanted: &[Wanted]) -> Existing {
        let mut existing = Existing::default();
        for wanted in wanted {
            let of_tenant = || {
                self.ledger
                    .iter()
                    .filter(|row| row.span.tenant_id == wanted.tenant)
            };
            let latest = of_tenant().filter(|row| row.span.id == wanted.id);
            if let Some(row) = latest.max_by_key(|row| row.span.seq) {
                let latest = Latest {
                    seq: row.span.seq,
                    owner: row.span.owner_id.clone(),
                    entity_type: row.span.entity_type.clone(),
                };
                existing
                    .by_id
                    .insert((wanted.tenant.clone(), wanted.id), latest);
            }
            let Some(key) = &wanted.key else { continue };
            let holder = of_tenant().find(|row| {
                row.span.owner_id == wanted.owner && row.span.idempotency_key.as_ref() == Some(key)
            });
            if let Some(row) = holder {
                let place = (wanted.tenant.clone(), wanted.owner.clone(), key.clone());
                existing.by_key.insert(place, first(row));
            }
        }
        existing
    }
}

/// One line per verdict: what a publisher sees of it.
fn shown(verdict: &Verdict) -> String {
    match verdict {
        Verdict::Sealed { sealed, .. } => format!("sealed {}", sealed.position),
        Verdict::Repeat(first) => format!("repeats {}", first.position),
        Verdict::Refused(refusal) => format!("{} {}", refusal.code, refusal.pointer),
    }
}

/// All in one batch, and each in its own with everything committed: the answers must be the same.
#[track_caller]
fn check(messages: &[(&str, &str)], expected: &[&str]) {
    let messages: Vec<Incoming> = (1..)
        .zip(messages)
        .map(|(seq, (subject, body))| message(seq, subject, body))
        .collect();
    let together: Vec<String> = Model::new(0).batch(&messages).iter().map(shown).collect();
    assert_eq!(together, expected, "in one batch");
    let mut model = Model::new(0);
    let apart: Vec<String> = messages
        .iter()
        .flat_map(|one| model.batch(std::slice::from_ref(one)))
        .map(|v| shown(&v))
        .collect();
    assert_eq!(apart, expected, "in a batch each");
}

const ALICE: &str = "ingest.acme.alice.activity";
const BOB: &str = "ingest.acme.bob.activity";
const PLAIN: &str = r#"{"who":"alice","this":"door"}"#;
const ID: &str = "018f3c5e-7b1a-7c3d-8e4f-0123456789ab";

fn named(rest: &str) -> String {
    format!(r#"{{"who":"alice","this":"door","id":"{ID}"{rest}}}"#)
}

#[test]
fn spans_are_placed_in_order_per_tenant() {
    check(
        &[
            (ALICE, PLAIN),
            ("ingest.globex.carol.activity", PLAIN),
            (BOB, PLAIN),
        ],
        &["sealed 1", "sealed 1", "sealed 2"],
    );
}

#[test]
fn a_key_used_again_by_its_owner_repeats_and_by_another_does_not() {
    let keyed = r#"{"who":"alice","this":"door","idempotency_key":"k"}"#;
    let other = r#"{"who":"alice","this":"gate","idempotency_key":"k"}"#;
    check(
        &[
            (ALICE, keyed),
            (ALICE, other),
            (BOB, keyed),
            ("ingest.globex.alice.activity", keyed),
        ],
        &["sealed 1", "repeats 1", "sealed 2", "sealed 1"],
    );
}

#[test]
fn versions_follow_their_rules_span_3() {
    let (first, second, third) = (named(""), named(r#","seq":2"#), named(r#","seq":1"#));
    let changed = named(r#","seq":2,"did":"opened""#);
    let next = named(r#","seq":3"#);
    check(
        &[
            (ALICE, &first),
            (ALICE, &first),
            (ALICE, &second),
            (ALICE, &second),
            (ALICE, &first),
            (ALICE, &third),
            (ALICE, &changed),
            (BOB, &next),
            ("ingest.acme.alice.other", &next),
            (ALICE, &next),
            ("ingest.globex.bob.activity", &next),
        ],
        &[
            "sealed 1",
            "repeats 1",
            "sealed 2",
            "repeats 2",
            "repeats 1",
            "version_stale /seq",
            "version_conflict /seq",
            "version_owner /id",
            "version_type /entity_type",
            "sealed 3",
            "sealed 1",
        ],
    );
}

#[test]
fn a_repeat_that_names_another_time_is_a_conflict() {
    let timed = named(r#","at":"2025-01-01T00:00:00Z""#);
    check(
        &[(ALICE, &named("")), (ALICE, &timed), (ALICE, &named(""))],
        &["sealed 1", "version_conflict /seq", "repeats 1"],
    );
}

#[test]
fn refused_messages_take_no_place() {
    check(
        &[
            (ALICE, "{"),
            (ALICE, r#"{"who":"alice"}"#),
            (
                ALICE,
                r#"{"who":"alice","this":"door","tenant_id":"globex"}"#,
            ),
            ("ingest.acme.alice", PLAIN),
            (ALICE, PLAIN),
        ],
        &[
            "malformed_json ",
            "missing_field /this",
            "tenant_mismatch /tenant_id",
            "invalid_address ",
            "sealed 1",
        ],
    );
}

/// The messages' times, and when their spans were received, in µs after the start.
#[track_caller]
fn check_times(messages: &[(&str, i64)], expected: &[i64]) {
    let messages: Vec<Incoming> = (1..)
        .zip(messages)
        .map(|(seq, (subject, micros))| Incoming {
            time_ns: START_NS + micros * 1000,
            ..message(seq, subject, &format!(r#"{{"who":"p","this":"{seq}"}}"#))
        })
        .collect();
    let received: Vec<i64> = Model::new(0)
        .batch(&messages)
        .iter()
        .map(|verdict| match verdict {
            Verdict::Sealed { sealed, .. } => sealed.received_at.as_micros() - START_NS / 1000,
            Verdict::Repeat(_) | Verdict::Refused(_) => panic!("{verdict:?}"),
        })
        .collect();
    assert_eq!(received, expected);
}

const CAROL: &str = "ingest.globex.carol.activity";

#[test]
fn received_at_rises_though_the_bus_time_stands_still_led_4() {
    check_times(&[(ALICE, 0), (ALICE, 0), (CAROL, 0)], &[0, 1, 2]);
}

#[test]
fn received_at_rises_over_all_tenants_though_the_bus_clock_steps_back_led_4() {
    check_times(
        &[(ALICE, 500), (CAROL, 20), (ALICE, 30), (CAROL, 900)],
        &[500, 501, 502, 900],
    );
}

#[test]
fn a_condemned_message_is_refused_and_the_others_go_on() {
    let incoming = message(1, ALICE, PLAIN);
    let condemned = Message::read(incoming, &Limits::STANDARD, true);
    assert_eq!(
        condemned.reading.err().map(|refusal| refusal.code),
        Some(Code::Internal)
    );
}

/// Messages that get in each other's way: few tenants, people, ids, keys and versions.
fn colliding() -> impl Strategy<Value = (String, String, i64)> {
    let subject = (0..2_u8, 0..2_u8, 0..2_u8)
        .prop_map(|(tenant, person, kind)| format!("ingest.t{tenant}.p{person}.kind{kind}"));
    let id = proptest::option::of(0..3_u8);
    let key = proptest::option::of(0..3_u8);
    let body =
        (id, proptest::option::of(0..3_u8), key, 0..2_u8).prop_map(|(id, seq, key, this)| {
            let mut body = format!(r#"{{"who":"p","this":"{this}""#);
            if let Some(id) = id {
                body += &format!(r#","id":"018f3c5e-7b1a-7c3d-8e4f-00000000000{id}""#);
            }
            if let Some(seq) = seq {
                body += &format!(r#","seq":{seq}"#);
            }
            if let Some(key) = key {
                body += &format!(r#","idempotency_key":"{key}""#);
            }
            body + "}"
        });
    (subject, body, 0..100_i64)
}

proptest! {
    /// LED-7: however the messages fall into batches, and however late those are committed.
    #[test]
    fn the_chain_is_a_function_of_the_messages(
        messages in proptest::collection::vec(colliding(), 1..60),
        sizes in proptest::collection::vec(1..8_usize, 1..10),
        lag in 0..4_usize,
    ) {
        let messages: Vec<Incoming> = (1..)
            .zip(&messages)
            .map(|(seq, (subject, body, micros))| Incoming {
                // No two messages have the same nanosecond, or the model would have to know of conflicts.
                time_ns: START_NS + micros * 1000 + i64::try_from(seq).unwrap(),
                ..message(seq, subject, body)
            })
            .collect();
        let alone: Vec<Verdict> = {
            let mut model = Model::new(0);
            messages.iter().flat_map(|one| model.batch(std::slice::from_ref(one))).collect()
        };
        let mut model = Model::new(lag);
        let mut rest = messages.as_slice();
        let mut batched = Vec::new();
        for size in sizes.iter().cycle() {
            if rest.is_empty() {
                break;
            }
            let (batch, after) = rest.split_at((*size).min(rest.len()));
            batched.extend(model.batch(batch));
            rest = after;
        }
        prop_assert_eq!(batched.len(), alone.len());
        let received = alone.iter().filter_map(|verdict| match verdict {
            Verdict::Sealed { sealed, .. } => Some(sealed.received_at),
            Verdict::Repeat(_) | Verdict::Refused(_) => None,
        });
        prop_assert!(received.is_sorted_by(|one, next| one < next));
        for (one, other) in batched.iter().zip(&alone) {
            match (one, other) {
                (Verdict::Sealed { sealed: a, .. }, Verdict::Sealed { sealed: b, .. }) => {
                    prop_assert_eq!(a.to_json(), b.to_json());
                }
                _ => prop_assert_eq!(shown(one), shown(other)),
            }
        }
    }
}
