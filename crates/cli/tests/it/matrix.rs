//! Who may read what, by every way to read (LED-2, PRV-2): each answer is compared with [`Reader::may_read`].
//!
//! A further way to read, such as HTTP or the bus, is one more [`Route`].

mod sql;

use std::collections::BTreeSet;

use logline_bus::{Answer, Receipt, Subject};
use logline_span::{Reader, Visibility};
use uuid::Uuid;

use crate::system::{System, outgoing};

const TENANTS: [&str; 3] = ["acme", "other", "third"];
/// The same names in each tenant; `_` and `%` mean something to SQL.
const PRINCIPALS: [&str; 3] = ["alice", "bob@acme.com", "a_l%e"];
const VISIBILITIES: [Visibility; 3] = [Visibility::Private, Visibility::Tenant, Visibility::Public];
const PATIENCE: std::time::Duration = std::time::Duration::from_secs(30);
/// All facts refer to it.
const TARGET: &str = "7a0c6c3e-66a5-4d0c-9a33-1f1f6c0d1f10";

/// A version of a span.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Fact {
    id: Uuid,
    seq: u32,
    tenant: String,
    owner: String,
    visibility: Visibility,
    is_latest: bool,
}

impl Fact {
    fn is_for(&self, reader: Option<&Reader>) -> bool {
        match reader {
            Some(reader) => reader.may_read(
                &self.tenant.parse().unwrap(),
                &self.owner.parse().unwrap(),
                self.visibility,
            ),
            None => self.visibility == Visibility::Public,
        }
    }
}

/// What a way to read is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Scope {
    /// Every version that there is.
    Versions,
    /// The latest ones.
    Latest,
}

/// What one question showed.
struct Shown {
    /// By which view or call.
    by: String,
    scope: Scope,
    /// The facts that the question was about; all, where none is named.
    about: Option<Uuid>,
    versions: BTreeSet<(Uuid, u32)>,
}

/// A way to read.
trait Route {
    /// Everything that the reader is shown: lists, and one question for each fact.
    async fn read(&self, reader: Option<&Reader>, facts: &[Fact]) -> Vec<Shown>;
}

/// Every pair of tenant and principal, and nobody.
fn readers() -> Vec<Option<Reader>> {
    let person = |tenant: &str, principal: &str| Reader {
        tenant: tenant.parse().unwrap(),
        principal: principal.parse().unwrap(),
    };
    TENANTS
        .iter()
        .flat_map(|tenant| PRINCIPALS.map(|principal| Some(person(tenant, principal))))
        .chain([None])
        .collect()
}

/// For each owner a span of each visibility, and for each two of them one that went from the first to the second.
fn facts() -> Vec<Fact> {
    let mut facts = Vec::new();
    for tenant in TENANTS {
        for owner in PRINCIPALS {
            for first in VISIBILITIES {
                for last in VISIBILITIES {
                    let id = Uuid::now_v7();
                    let versions = if first == last {
                        vec![first]
                    } else {
                        vec![first, last]
                    };
                    let count = versions.len();
                    facts.extend((0..).zip(versions).map(|(seq, visibility)| Fact {
                        id,
                        seq,
                        tenant: tenant.to_owned(),
                        owner: owner.to_owned(),
                        visibility,
                        is_latest: seq as usize + 1 == count,
                    }));
                }
            }
        }
    }
    facts
}

/// Publishes the facts as their owners and waits until they are sealed.
async fn seal(system: &System, facts: &[Fact]) {
    for fact in facts {
        let subject = Subject::Ingest {
            tenant: fact.tenant.parse().unwrap(),
            principal: fact.owner.parse().unwrap(),
            entity_type: "matrix".parse().unwrap(),
        };
        let body = serde_json::json!({
            "id": fact.id, "seq": fact.seq, "who": "w", "this": "t", "visibility": fact.visibility.as_str(),
            "related_to": [TARGET], "metadata": {"of": fact.id},
        });
        let sealed = system
            .bus
            .publish_sealed(&subject, outgoing(&body.to_string()), PATIENCE);
        let answer = sealed.await.unwrap();
        assert!(
            matches!(answer, Answer::Receipt(Receipt::Sealed { .. })),
            "{answer:?}"
        );
    }
}

/// Asks everything as everyone; how many questions were asked.
async fn check(route: &impl Route, facts: &[Fact]) -> usize {
    let mut asked = 0;
    for reader in readers() {
        for shown in route.read(reader.as_ref(), facts).await {
            let due: BTreeSet<_> = facts
                .iter()
                .filter(|fact| shown.about.is_none_or(|id| id == fact.id))
                .filter(|fact| shown.scope == Scope::Versions || fact.is_latest)
                .filter(|fact| fact.is_for(reader.as_ref()))
                .map(|fact| (fact.id, fact.seq))
                .collect();
            assert_eq!(shown.versions, due, "{} as {reader:?}", shown.by);
            asked += 1;
        }
    }
    asked
}
