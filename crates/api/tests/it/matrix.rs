use std::collections::BTreeSet;

use futures_util::{StreamExt, stream};
use logline_span::{Reader, Visibility};
use serde_json::{Value, json};

use crate::{client::Client, world::World};

/// Spans of each kind.
const EACH: usize = 20;

/// One span with what the rule asks about.
struct Known {
    id: String,
    owner: Reader,
    visibility: Visibility,
}

fn reader(tenant: &str, principal: &str) -> Reader {
    Reader {
        tenant: tenant.parse().unwrap(),
        principal: principal.parse().unwrap(),
    }
}

/// The rule itself, which no path shares with another.
fn may_read(reader: Option<&Reader>, span: &Known) -> bool {
    match reader {
        None => span.visibility == Visibility::Public,
        Some(reader) => reader.may_read(&span.owner.tenant, &span.owner.principal, span.visibility),
    }
}

async fn publish(client: &Client, owner: &Reader) -> Vec<Known> {
    let kinds = [Visibility::Private, Visibility::Tenant, Visibility::Public];
    let spans: Vec<Value> = (0..EACH * kinds.len())
        .map(|nth| {
            let visibility = kinds[nth % kinds.len()].as_str();
            json!({"entity_type": "note", "who": "someone", "this": nth.to_string(), "visibility": visibility})
        })
        .collect();
    let answer = client.publish(&json!(spans)).await.json();
    let receipts = answer.as_array().unwrap().iter();
    receipts
        .zip(0..)
        .map(|(receipt, nth): (&Value, usize)| Known {
            id: receipt["id"].as_str().unwrap().to_owned(),
            owner: owner.clone(),
            visibility: kinds[nth % kinds.len()],
        })
        .collect()
}

fn ids(spans: &Value) -> Vec<String> {
    let id = |span: &Value| span["id"].as_str().unwrap().to_owned();
    spans.as_array().unwrap().iter().map(id).collect()
}

async fn listed(client: &Client) -> BTreeSet<String> {
    let (mut found, mut cursor) = (BTreeSet::new(), String::new());
    loop {
        let page = client
            .get(&format!("/api/timeline?limit=50{cursor}"))
            .await
            .json();
        found.extend(ids(&page["spans"]));
        match page["next"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => return found,
        }
    }
}

/// Everything from the first span on, up to the last that everyone may read.
async fn followed(client: &Client, last: &str) -> BTreeSet<String> {
    let mut stream = client.follow("/api/timeline/stream?after=0", None).await;
    let mut found = BTreeSet::new();
    loop {
        let span = stream.span().await;
        let id = span["id"].as_str().unwrap();
        if id == last {
            return found;
        }
        found.insert(id.to_owned());
    }
}

/// PRV-2, LED-2: reader × visibility × owner × tenant × path, each held against `span::Reader::may_read`.
#[tokio::test(flavor = "multi_thread")]
async fn no_path_shows_what_the_rule_does_not() {
    let world = World::new().await;
    let minute = std::time::Duration::from_secs(600);
    let owners = [
        ("acme", "alice"),
        ("acme", "bob"),
        ("other", "alice"),
        ("other", "bob"),
    ];
    let mut spans = Vec::new();
    for (tenant, principal) in owners {
        let owner = reader(tenant, principal);
        spans.extend(publish(&world.minted(tenant, principal, minute), &owner).await);
    }
    let last =
        json!({"entity_type": "note", "who": "someone", "this": "last", "visibility": "public"});
    let last = world.minted("third", "alice", minute).seal(&last).await;
    let last = last["id"].as_str().unwrap();

    let readers = owners
        .iter()
        .chain(&[("acme", "carol"), ("third", "alice")]);
    let readers = readers.map(|&(tenant, principal)| {
        let client = world.minted(tenant, principal, minute);
        (Some(reader(tenant, principal)), client)
    });
    let readers: Vec<_> = readers.chain([(None, world.anonymous())]).collect();
    let (mut reads, mut leaks, mut missing) = (0, Vec::new(), Vec::new());
    let mut judge = |path: &str, reader: Option<&Reader>, span: &Known, seen: bool| {
        reads += 1;
        let case = || {
            format!(
                "{path}: {reader:?} and {:?} of {:?}",
                span.visibility, span.owner
            )
        };
        match (seen, may_read(reader, span)) {
            (true, false) => leaks.push(case()),
            (false, true) => missing.push(case()),
            (true, true) | (false, false) => {}
        }
    };
    for (reader, client) in &readers {
        let reader = reader.as_ref();
        for suffix in ["", "?seq=0"] {
            let found = stream::iter(&spans).map(async |span| {
                let answer = client.get(&format!("/api/spans/{}{suffix}", span.id)).await;
                assert!(matches!(answer.status, 200 | 404), "{}", answer.text);
                assert_eq!(answer.text.contains(r#""who""#), answer.status == 200);
                (span, answer.status == 200)
            });
            let found: Vec<_> = found.buffered(8).collect().await;
            for (span, seen) in found {
                judge("by id", reader, span, seen);
            }
        }
        for (path, found) in [
            ("list", listed(client).await),
            ("stream", followed(client, last).await),
        ] {
            for span in &spans {
                judge(path, reader, span, found.contains(&span.id));
            }
        }
    }
    assert_eq!(leaks, Vec::<String>::new());
    assert_eq!(missing, Vec::<String>::new());
    assert!(reads >= 5_000, "{reads}");
}
