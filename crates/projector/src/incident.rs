//! The span that says that the bus forgot what was sealed (LED-17).

use logline_bus::{Error, Fingerprint, Outgoing, StreamState, Subject};
use logline_span::{Encoding, Refusal, Timestamp};
use serde_json::json;
use tokio_util::sync::CancellationToken;

use crate::parting::Mark;
use crate::stage::Context;

/// Who writes it; a principal of the system's.
const PRINCIPAL: &str = "edge:projector";

/// What was found where bus and ledger parted.
pub(crate) struct Forgotten {
    /// The last message that the ledger says is sealed.
    pub(crate) mark: Mark,
    /// What `INGEST` holds.
    pub(crate) stream: StreamState,
    /// The first message that was never sealed.
    pub(crate) sealing_from: u64,
}

impl Context {
    /// Reports it before anything is sealed upon it, so that no crash leaves it untold; `None` once `until` is cancelled.
    pub(crate) async fn report(
        &self,
        until: &CancellationToken,
        forgotten: &Forgotten,
    ) -> Option<()> {
        let (subject, outgoing) = match written(forgotten) {
            Ok(incident) => incident,
            Err(error) => {
                tracing::error!(%error, "the incident breaks the rules of spans");
                return Some(());
            }
        };
        let published = self.ask_bus(until, || async {
            match self.bus.publish(&subject, outgoing.clone()).await {
                // Only sealing makes room, and it begins after this.
                Err(Error::Full) => {
                    tracing::error!("the intake is full: the incident stands in this log alone");
                    Ok(())
                }
                published => published.map(drop),
            }
        });
        published.await
    }
}

/// It says the same however often it is told, and its key keeps it one.
fn written(forgotten: &Forgotten) -> Result<(Subject, Outgoing), Refusal> {
    let Forgotten {
        mark,
        stream,
        sealing_from,
    } = forgotten;
    let sealed_through = mark.seq;
    let time_ns = mark.known.map_or(0, |Fingerprint { time_ns, .. }| time_ns);
    let StreamState { first, last, .. } = stream;
    let detail = format!(
        "the bus forgot its newest messages, by a power cut or an older copy of its store, and gives their numbers to others: \
         the ledger had sealed INGEST up to {sealed_through}, the bus holds {first} to {last}, and sealing goes on at {sealing_from}"
    );
    let body = json!({
        "entity_type": "incident",
        "who": PRINCIPAL,
        "did": "detected",
        "this": "bus",
        "at": Timestamp::from_nanos_truncating(time_ns).to_string(),
        "visibility": "tenant",
        "idempotency_key": format!("{PRINCIPAL}:forgotten:{sealed_through}:{time_ns}:{sealing_from}"),
        "metadata": {
            "code": "bus_forgot",
            "detail": detail,
            "sealed_through": sealed_through,
            "sealing_from": sealing_from,
        },
    });
    let subject = Subject::ingest(
        &"system".parse()?,
        &PRINCIPAL.parse()?,
        &"incident".parse()?,
    );
    let outgoing = Outgoing {
        body: body.to_string().into(),
        encoding: Encoding::Json,
        traceparent: None,
        receipt: None,
        depth: Some(0),
    };
    Ok((subject, outgoing))
}

#[cfg(test)]
mod tests {
    use logline_span::{Draft, Limits};

    use super::*;

    #[test]
    fn it_is_a_span_and_names_what_parted() {
        let forgotten = Forgotten {
            mark: Mark {
                seq: 100,
                known: Some(Fingerprint {
                    digest: [1; 16],
                    time_ns: 1_700_000_000_000_000_000,
                }),
            },
            stream: StreamState {
                first: 3,
                last: 90,
                messages: 88,
                bytes: 1,
                bytes_max: None,
            },
            sealing_from: 81,
        };
        let (subject, outgoing) = written(&forgotten).unwrap();
        assert_eq!(subject.to_string(), "ingest.system.edge:projector.incident");
        let draft = Draft::parse(&outgoing.body, Encoding::Json, &Limits::STANDARD).unwrap();
        assert_eq!(
            draft.idempotency_key.as_deref(),
            Some("edge:projector:forgotten:100:1700000000000000000:81")
        );
        let text = String::from_utf8(outgoing.body.to_vec()).unwrap();
        assert!(text.contains("up to 100, the bus holds 3 to 90, and sealing goes on at 81"));
    }
}
