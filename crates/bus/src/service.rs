//! The NATS service `logline`: publishing by request and reply (BUS-2).

use async_nats::service::{Request, Service, ServiceExt, endpoint::Endpoint};
use futures_util::StreamExt;
use logline_span::{Code, Draft, Encoding, EntityType, Limits, Principal, Refusal, TenantId};
use tokio_util::sync::CancellationToken;

use crate::{
    Bus, Error, Outgoing, Quarantined, Receipt, Subject, consumer::pause, header, receipt::allowed,
    subject::PUBLISH_ROOT,
};

/// Requests that may wait for the bus at once.
const IN_FLIGHT_MAX: usize = 256;

/// The service, ready to answer.
///
/// Requests come over a connection of their own: malformed headers, which anyone may send, make the client library
/// drop its connection or die.
pub struct PublishService {
    bus: Bus,
    limits: Limits,
    registered: Registered,
}

struct Registered {
    service: Service,
    requests: Endpoint,
}

impl Bus {
    /// Registers the service `logline`; it answers once [`PublishService::run`] is awaited.
    ///
    /// # Errors
    ///
    /// Where the client cannot connect or subscribe.
    pub async fn serve_publish(&self, limits: Limits) -> Result<PublishService, Error> {
        Ok(PublishService {
            bus: self.clone(),
            limits,
            registered: register(self).await?,
        })
    }
}

async fn register(bus: &Bus) -> Result<Registered, Error> {
    let failed = |source| Error::client("registering the service")(source);
    let reader = bus.sibling("service").await?;
    let service = reader
        .inner
        .client
        .service_builder()
        .description("publishes spans and answers with their receipts")
        .start("logline", env!("CARGO_PKG_VERSION"))
        .await
        .map_err(failed)?;
    let requests = service
        .endpoint_builder()
        .name("publish")
        .add(format!("{PUBLISH_ROOT}.>"))
        .await
        .map_err(failed)?;
    Ok(Registered { service, requests })
}

impl PublishService {
    /// Answers requests until it is told to stop, then finishes those it took.
    pub async fn run(self, shutdown: CancellationToken) {
        let Self {
            bus,
            limits,
            mut registered,
        } = self;
        loop {
            registered
                .requests
                .by_ref()
                .take_until(shutdown.cancelled())
                .for_each_concurrent(IN_FLIGHT_MAX, |request| handle(&bus, &limits, request))
                .await;
            if shutdown.is_cancelled() || bus.is_closed() {
                break;
            }
            let mut failures = 0;
            registered = loop {
                match register(&bus).await {
                    Ok(registered) => break registered,
                    Err(error) => tracing::warn!(%error, "the service cannot register yet"),
                }
                failures += 1;
                if shutdown
                    .run_until_cancelled(pause(&bus, failures))
                    .await
                    .is_none()
                {
                    return;
                }
            };
        }
        if let Err(error) = registered.service.stop().await {
            tracing::debug!(%error, "stopping the service");
        }
    }
}

/// Publishes one request. The projector answers it; the service does where nothing reached the projector.
async fn handle(bus: &Bus, limits: &Limits, request: Request) {
    let message = &request.message;
    let header = |name: &str| {
        let value = message.headers.as_ref()?.get(name)?;
        Some(value.as_str().to_owned())
    };
    let inbox = |identity| {
        let reply = message.reply.as_deref()?;
        allowed(reply, identity, bus.inner.open_inboxes).then(|| reply.to_owned())
    };
    let content_type = header(header::CONTENT_TYPE);
    let address = identify(&message.subject);
    let identity = address
        .as_ref()
        .ok()
        .map(|(tenant, principal, _)| (tenant, principal));
    let inbox = inbox(identity);
    let prepared = address.and_then(|(tenant, principal, entity_type)| {
        let encoding = Encoding::from_content_type(content_type.as_deref())?;
        // What can be refused at once is; what is published stays as it came, so that quarantine has it raw (LED-14).
        Draft::parse(&message.payload, encoding, limits)?;
        let subject = Subject::Ingest {
            tenant,
            principal,
            entity_type,
        };
        Ok((subject, encoding))
    });
    let refusal = match prepared {
        Ok((subject, encoding)) => {
            let outgoing = Outgoing {
                body: message.payload.clone(),
                encoding,
                traceparent: header(header::TRACEPARENT),
                receipt: inbox.clone(),
                depth: None,
            };
            match bus.publish(&subject, outgoing).await {
                Ok(_) => return,
                Err(error) => unavailable(&error),
            }
        }
        Err(refusal) => {
            let refused = Quarantined {
                tenant: Subject::claimed_tenant(&message.subject),
                code: refusal.code,
                pointer: refusal.pointer.clone(),
                detail: refusal.detail.clone(),
                subject_text: message.subject.to_string(),
                content_type,
                key: uuid::Uuid::now_v7().to_string(),
                body: message.payload.clone(),
            };
            if let Err(error) = bus.quarantine(&refused).await {
                tracing::error!(%error, subject = refused.subject_text, "a refused request is not kept");
            }
            refusal
        }
    };
    if let Some(inbox) = inbox
        && let Err(error) = bus.answer(&inbox, &Receipt::Refused(refusal)).await
    {
        tracing::warn!(%error, "a request stays unanswered");
    }
}

/// Who asks to publish what. Nobody publishes as the system by request: the service's own credentials could.
fn identify(subject: &str) -> Result<(TenantId, Principal, EntityType), Refusal> {
    let Subject::Publish {
        tenant,
        principal,
        entity_type,
    } = subject.parse()?
    else {
        return Err(Refusal::new(
            Code::InvalidAddress,
            "the address is not one of this service",
        ));
    };
    if principal.is_system() {
        return Err(Refusal::new(
            Code::ReservedPrincipal,
            "the principals of the system publish to the bus themselves",
        ));
    }
    Ok((tenant, principal, entity_type))
}

fn unavailable(error: &Error) -> Refusal {
    let code = match error {
        Error::Full => Code::IngestFull,
        Error::TooLarge { .. } => Code::BodyTooLarge,
        _ => Code::BusUnavailable,
    };
    Refusal::new(code, error.to_string())
}
