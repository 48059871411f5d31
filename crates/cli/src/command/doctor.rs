//! `logline doctor`: the deployment's test, with a real round trip on every path (CLI-3).

use std::{future::Future, time::Duration};

use anyhow::{Context, Result, anyhow, bail, ensure};
use logline_bus::{Answer, Bus, Filter, Outgoing, Receipt, Start, Subject, access::Login};
use logline_ledger::{Scope, Verifier};
use logline_span::{Encoding, EntityType, Position, Principal, TenantId, Timestamp};
use serde_json::{Value, json};

use crate::{
    Exit,
    args::{Global, Output},
    client::{Client, problem_text},
    command::runtime,
    config::{self, Settings},
    output, parts,
    stack::{self, Addresses},
};

/// No check waits longer.
const CHECK_MAX: Duration = Duration::from_secs(10);
/// Clocks of this machine and the bus may differ by this much (OBS-4).
const DRIFT_MAX_US: i64 = 500_000;
/// Rows at the end of the chain that are recomputed; `logline verify` does all.
const TAIL_ROWS: u64 = 1000;

/// Messages at the end of the timeline that are compared with their rows.
const TIMELINE_TAIL: u64 = 10;
/// A chain's head is signed within a second (LED-8); a busy machine is given more.
const SIGNED_WITHIN: Duration = Duration::from_secs(10);

/// Flags of `logline doctor`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Exit codes: 0 all passed, 1 some failed.")]
pub(crate) struct Doctor {
    /// Tenant of the token, where it is not the development stack's.
    #[arg(long)]
    tenant: Option<String>,
    /// Principal of the token, where it is not the development stack's.
    #[arg(long)]
    principal: Option<String>,
}

/// What was found, one entry a check.
struct Findings {
    form: Output,
    passed: Vec<String>,
    failed: Vec<(String, String)>,
}

pub(crate) fn run(global: &Global, command: &Doctor) -> Result<Exit> {
    let settings = config::load_for_stack(global)?;
    let addresses = stack::addresses(&stack::directory(global.dir.as_deref())?).ok();
    let identity = |given: &Option<String>, kept: fn(&Addresses) -> &String| {
        given
            .clone()
            .or_else(|| addresses.as_ref().map(kept).cloned())
    };
    let tenant = identity(&command.tenant, |addresses| &addresses.tenant)
        .context("no stack here: --tenant is missing")?;
    let principal = identity(&command.principal, |addresses| &addresses.principal)
        .context("no stack here: --principal is missing")?;
    let visit = Visit {
        settings,
        client: Client::new(global)?.within(CHECK_MAX),
        tenant: tenant.parse()?,
        principal: principal.parse()?,
    };
    let mut findings = Findings {
        form: output::form(global.output),
        passed: Vec::new(),
        failed: Vec::new(),
    };
    runtime()?.block_on(visit.check_all(&mut findings))?;
    findings.conclude()
}

impl Findings {
    /// Runs one check under its name; what it returns is there for the next ones.
    async fn check<T>(
        &mut self,
        name: &str,
        check: impl Future<Output = Result<T>>,
    ) -> Result<Option<T>> {
        let result = match tokio::time::timeout(CHECK_MAX, check).await {
            Ok(result) => result,
            Err(_) => Err(anyhow!("no answer within {} s", CHECK_MAX.as_secs())),
        };
        let table = self.form == Output::Table;
        match result {
            Ok(value) => {
                if table {
                    output::line(&format!("pass  {name}"))?;
                }
                self.passed.push(name.to_owned());
                Ok(Some(value))
            }
            Err(error) => {
                let detail = format!("{error:#}");
                if table {
                    output::line(&format!("FAIL  {name}: {}", output::printable(&detail)))?;
                }
                self.failed.push((name.to_owned(), detail));
                Ok(None)
            }
        }
    }

    fn conclude(self) -> Result<Exit> {
        if self.form == Output::Table {
            output::line(&format!(
                "{} passed, {} failed",
                self.passed.len(),
                self.failed.len()
            ))?;
        } else {
            let failed: Vec<_> = self
                .failed
                .iter()
                .map(|(name, detail)| json!({"check": name, "detail": detail}))
                .collect();
            output::line(
                &json!({"ok": self.failed.is_empty(), "passed": self.passed, "failed": failed})
                    .to_string(),
            )?;
        }
        Ok(if self.failed.is_empty() {
            Exit::Done
        } else {
            Exit::No
        })
    }
}

/// Where the doctor looks, and as whom.
struct Visit {
    settings: Settings,
    client: Client,
    tenant: TenantId,
    principal: Principal,
}

/// A span on its way through the system.
struct Sealed {
    id: String,
    position: Position,
    received_at: Timestamp,
    /// When this machine's clock says that it was sent and that it was sealed.
    between: [Timestamp; 2],
}

impl Visit {
    async fn check_all(&self, findings: &mut Findings) -> Result<()> {
        let verifier = Verifier::connect(&parts::ledger_config(
            &self.settings,
            &self.settings.ledger.verifier_url,
            "doctor",
        ))?;
        let inspected = findings
            .check("database: answers", async { Ok(verifier.inspect().await?) })
            .await?;
        for finding in inspected.into_iter().flatten() {
            let result = finding.result.map_err(anyhow::Error::msg);
            findings
                .check(&format!("database: {}", finding.name), async { result })
                .await?;
        }
        findings
            .check("keys: the signing key is at hand", async {
                parts::signing_key(&self.settings).map(|_| ())
            })
            .await?;
        let bus = findings
            .check("bus: answers", async {
                Ok(Bus::connect(&parts::bus_config(
                    &self.settings,
                    Login::Operator,
                    "doctor",
                ))
                .await?)
            })
            .await?;
        findings
            .check("api: answers", async { self.expect_ok("/healthz") })
            .await?;
        self.check_readiness(findings).await?;
        if let Some(bus) = bus {
            self.check_streams(findings, &bus).await?;
            self.check_round_trips(findings, &bus, &verifier).await?;
            self.check_agreement(findings, &bus, &verifier).await?;
            bus.close().await;
        }
        Ok(())
    }

    /// Each part's own word for how it fares.
    async fn check_readiness(&self, findings: &mut Findings) -> Result<()> {
        let asked = async { Ok(self.client.get("/readyz", &[])?.1) };
        let readiness = findings.check("ready: the parts say so", asked).await?;
        for check in readiness
            .iter()
            .filter_map(|readiness| readiness.get("checks")?.as_array())
            .flatten()
        {
            let text = |name: &str| {
                check
                    .get(name)
                    .and_then(Value::as_str)
                    .unwrap_or_default()
                    .to_owned()
            };
            let ok = check.get("ok") == Some(&Value::Bool(true));
            let detail = text("detail");
            findings
                .check(&format!("ready: {}", text("name")), async move {
                    if ok { Ok(()) } else { Err(anyhow!(detail)) }
                })
                .await?;
        }
        Ok(())
    }

    async fn check_streams(&self, findings: &mut Findings, bus: &Bus) -> Result<()> {
        let checked = async {
            let differences = bus.differences().await?;
            let sentences: Vec<String> = differences.iter().map(ToString::to_string).collect();
            ensure!(
                sentences.is_empty(),
                "{}; `logline migrate` makes what is missing, the rest is changed by hand",
                sentences.join("; ")
            );
            Ok(())
        };
        findings
            .check("bus: streams are as this release wants them", checked)
            .await?;
        let lag = async {
            let state = bus.ingest_state().await?;
            ensure!(
                state.bytes < self.settings.bus.ingest_bytes_max.unsigned_abs(),
                "INGEST is full: nothing can be published"
            );
            Ok(())
        };
        findings
            .check("bus: INGEST has room", lag)
            .await
            .map(|_| ())
    }

    async fn check_round_trips(
        &self,
        findings: &mut Findings,
        bus: &Bus,
        verifier: &Verifier,
    ) -> Result<()> {
        let tail = findings
            .check("bus: the timeline can be followed", async {
                Ok(bus
                    .tail(
                        vec![Filter::timeline().tenant(self.tenant.clone())],
                        Start::Latest,
                    )
                    .await?)
            })
            .await?;
        let sealed = findings
            .check("round trip: HTTP to sealed", async {
                self.publish_by_http()
            })
            .await?;
        if let (Some(mut tail), Some(sealed)) = (tail, &sealed) {
            let seen = async {
                loop {
                    let (_, span) = tail.next().await?;
                    if span.span.id.to_string() == sealed.id {
                        return Ok(());
                    }
                }
            };
            findings
                .check("round trip: seen on the timeline", seen)
                .await?;
        }
        if let Some(sealed) = &sealed {
            findings
                .check("round trip: read back by the API", async {
                    self.expect_ok(&format!("/api/spans/{}", sealed.id))
                })
                .await?;
            findings
                .check("clock: this machine and the bus agree", async {
                    drift(sealed)
                })
                .await?;
            findings
                .check(
                    "chain: its end holds",
                    self.tail_holds(verifier, sealed.position),
                )
                .await?;
        }
        findings
            .check("round trip: NATS to receipt", self.publish_by_bus(bus))
            .await?;
        findings
            .check(
                "round trip: bad input is refused with its code",
                self.refused(bus),
            )
            .await
            .map(|_| ())
    }

    /// What the bus shows is what the ledger holds, and what it holds is signed.
    async fn check_agreement(
        &self,
        findings: &mut Findings,
        bus: &Bus,
        verifier: &Verifier,
    ) -> Result<()> {
        findings
            .check(
                "timeline: its end is what the ledger holds",
                agrees(bus, verifier),
            )
            .await?;
        let signed = async {
            let unsigned = verifier.unsigned(SIGNED_WITHIN).await?;
            ensure!(
                unsigned.is_empty(),
                "the log of {} is not signed to its end: is a signer running? Where it has refused, the tenant's incident says why \
                 (`logline query --entity-type incident`)",
                unsigned.join(", ")
            );
            Ok(())
        };
        findings
            .check("log: every chain is signed", signed)
            .await
            .map(|_| ())
    }

    fn expect_ok(&self, path: &str) -> Result<()> {
        let (status, answer) = self.client.get(path, &[])?;
        ensure!(status == 200, "{}", problem_text(status, &answer));
        Ok(())
    }

    fn publish_by_http(&self) -> Result<Sealed> {
        let sent = now()?;
        let (status, text) = self.client.post(
            "/api/spans",
            &[],
            "application/json",
            probe().to_string().as_bytes(),
        )?;
        let between = [sent, now()?];
        let answer: Value = serde_json::from_str(&text)?;
        ensure!(
            status != 202,
            "it was received and not sealed in time: is a projector running?"
        );
        ensure!(status == 200, "{}", problem_text(status, &answer));
        let id = answer
            .get("id")
            .and_then(Value::as_str)
            .context("the receipt names no id")?
            .to_owned();
        let position = answer
            .get("position")
            .and_then(Value::as_u64)
            .and_then(Position::new)
            .context("the receipt names no position")?;
        let (_, span) = self.client.get(&format!("/api/spans/{id}"), &[])?;
        let received_at = span
            .get("received_at")
            .and_then(Value::as_str)
            .context("the span has no received_at")?;
        Ok(Sealed {
            id,
            position,
            received_at: received_at.parse()?,
            between,
        })
    }

    async fn publish_by_bus(&self, bus: &Bus) -> Result<()> {
        match self.request(bus, probe()).await? {
            Receipt::Sealed { .. } => Ok(()),
            Receipt::Refused(refusal) => bail!(refusal),
        }
    }

    async fn refused(&self, bus: &Bus) -> Result<()> {
        let mut unknown = probe();
        if let Some(fields) = unknown.as_object_mut() {
            fields.insert("no_such_field".to_owned(), json!(1));
        }
        match self.request(bus, unknown).await? {
            Receipt::Sealed { .. } => bail!("a span with an unknown field was sealed"),
            Receipt::Refused(refusal) => {
                ensure!(
                    refusal.code == logline_span::Code::UnknownField,
                    "it was refused as `{}`",
                    refusal.code.as_str()
                );
                Ok(())
            }
        }
    }

    async fn request(&self, bus: &Bus, span: Value) -> Result<Receipt> {
        let entity_type: EntityType = "probe".parse()?;
        let subject = Subject::ingest(&self.tenant, &self.principal, &entity_type);
        let outgoing = Outgoing {
            body: span.to_string().into(),
            encoding: Encoding::Json,
            traceparent: None,
            receipt: None,
            depth: None,
        };
        match bus.publish_sealed(&subject, outgoing, CHECK_MAX).await? {
            Answer::Receipt(receipt) => Ok(receipt),
            Answer::Pending { .. } => bail!(
                "it was received and not sealed within {} s: is a projector running?",
                CHECK_MAX.as_secs()
            ),
        }
    }

    async fn tail_holds(&self, verifier: &Verifier, position: Position) -> Result<()> {
        let from = Position::new(position.get().saturating_sub(TAIL_ROWS).max(1));
        let report = verifier
            .verify(
                &Scope {
                    tenants: vec![self.tenant.clone()],
                    from,
                    ..Scope::default()
                },
                |_| (),
            )
            .await?;
        match report.failures.first() {
            None => Ok(()),
            Some(first) => bail!(
                "{} rows fail, the first at position {}: {}",
                report.failures.len(),
                first.position,
                first.detail
            ),
        }
    }
}

/// Compares the newest messages of the timeline with the rows that they tell of.
async fn agrees(bus: &Bus, verifier: &Verifier) -> Result<()> {
    let last = bus.timeline_last().await?;
    for n in last.saturating_sub(TIMELINE_TAIL).max(1)..=last {
        let told = bus.timeline_at(n).await.with_context(|| {
            format!("message {n} of TIMELINE is no sealed span; `logline republish` makes the timeline again")
        })?;
        let Some(told) = told else { continue };
        let before = told.position.get().saturating_sub(1);
        let rows = verifier.spans(&told.span.tenant_id, before, 1).await?;
        ensure!(
            rows.first() == Some(&told),
            "message {n} of TIMELINE is not the span at position {} of tenant {}; `logline verify` says whether the ledger \
             holds, `logline republish` makes the timeline again",
            told.position,
            told.span.tenant_id
        );
    }
    Ok(())
}

/// A span that says nothing about anybody.
fn probe() -> Value {
    json!({"entity_type": "probe", "who": "doctor", "did": "probed", "this": "stack"})
}

/// What the bus noted lies between what this machine's clock said before and after, or the clocks differ.
fn drift(sealed: &Sealed) -> Result<()> {
    let [sent, answered] = sealed.between.map(|time| time.as_micros());
    let received = sealed.received_at.as_micros();
    let drift = (sent - received).max(received - answered);
    ensure!(
        drift <= DRIFT_MAX_US,
        "they differ by {} ms; synchronise them (NTP)",
        drift / 1000
    );
    Ok(())
}

#[expect(
    clippy::disallowed_methods,
    reason = "the clock itself is what is checked"
)]
fn now() -> Result<Timestamp> {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH)?;
    Ok(Timestamp::from_micros(i64::try_from(now.as_micros())?))
}
