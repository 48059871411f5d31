//! BUS-6, PRV-2: what the bus lets each reader hear, live and again, is what the one rule says.

use logline_bus::{Subject, TimelineEntry};
use logline_span::{Reader, Sealed, Visibility};
use serde_json::json;
use tokio_util::sync::CancellationToken;

use crate::{
    callout::world,
    support::{Chain, Raw, entry},
};

const TENANTS: [&str; 6] = ["acme", "a", "a_b", "other", "third", "z9"];
/// Names that look like others, like wildcards and like addresses.
const OWNERS: [&str; 6] = ["alice", "b_c", "a.b", "*", "tenant", "timeline.acme"];
const VISIBILITIES: [Visibility; 3] = [Visibility::Private, Visibility::Tenant, Visibility::Public];

fn sealed() -> Vec<Sealed> {
    let mut chain = Chain::new();
    let mut sealed = Vec::new();
    for tenant in TENANTS {
        for owner in OWNERS {
            for visibility in VISIBILITIES {
                let fields = json!({"who": "x", "this": "y", "visibility": visibility.to_string()});
                sealed.push(chain.seal_fields(&fields, tenant, owner, "activity"));
            }
        }
    }
    sealed
}

/// Every reader, every span: by a subscription to its very address, and by a replay.
#[tokio::test]
async fn each_reader_hears_what_the_rule_shows_and_nothing_else() {
    let sealed = sealed();
    let entries: Vec<TimelineEntry> = sealed.iter().map(entry).collect();
    let reads = world()
        .await
        .with(None, async |nats, operator| {
            operator.timeline_append(1, &entries).await.unwrap();
            let replay = operator.serve_replay().await.unwrap();
            let stop = CancellationToken::new();
            let reading = async {
                let mut reads = 0;
                for tenant in TENANTS {
                    for owner in OWNERS {
                        let reader = Reader {
                            tenant: tenant.parse().unwrap(),
                            principal: owner.parse().unwrap(),
                        };
                        let token = format!(r#","auth_token":"{tenant}/{owner}""#);
                        let mut client = Raw::connect(nats, &token).await;
                        reads += live(&mut client, &reader, &sealed).await;
                        reads += again(&mut client, &reader, &sealed).await;
                    }
                }
                stop.cancel();
                reads
            };
            tokio::join!(replay.run(stop.clone()), reading).1
        })
        .await;
    assert_eq!(reads, 2 * 36 * 108);
}

fn may_read(reader: &Reader, sealed: &Sealed) -> bool {
    let span = &sealed.span;
    reader.may_read(&span.tenant_id, &span.owner_id, span.visibility)
}

async fn live(client: &mut Raw, reader: &Reader, sealed: &[Sealed]) -> usize {
    for (n, sealed) in sealed.iter().enumerate() {
        let subject = Subject::timeline(&sealed.span);
        let heard = client.is_allowed(&format!("SUB {subject} {n}")).await;
        assert_eq!(heard, may_read(reader, sealed), "{reader:?} {subject}");
    }
    sealed.len()
}

async fn again(client: &mut Raw, reader: &Reader, sealed: &[Sealed]) -> usize {
    let address = Subject::Replay {
        tenant: reader.tenant.clone(),
        principal: reader.principal.clone(),
    };
    let rest = address.to_string();
    let identity = rest.strip_prefix("logline.replay.").unwrap();
    let inbox = format!("receipt.{identity}.again");
    client.say(&format!("SUB {inbox} 999")).await;
    client.say(&format!("PUB {address} {inbox} 0\r\n")).await;
    // The last answer alone says how much is left.
    let heard = client.read_until("Logline-Pending").await;
    for sealed in sealed {
        let is_there = heard.contains(&format!(r#""id":"{}""#, sealed.span.id));
        assert_eq!(
            is_there,
            may_read(reader, sealed),
            "{reader:?} {}",
            sealed.span.id
        );
    }
    sealed.len()
}
