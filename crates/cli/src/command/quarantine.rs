//! `logline quarantine`: what was refused, mended or discarded by an operator (LED-14).

use std::{fs, path::PathBuf, time::Duration};

use anyhow::{Context, Result, bail, ensure};
use clap::Subcommand;
use logline_bus::{Answer, Bus, Kept, Outgoing, Receipt, Subject, access::Login};
use logline_span::{Code, Draft, Encoding, EntityType, Limits, Principal, TenantId};
use serde_json::{Value, json};

use crate::{
    Exit,
    args::{Global, Output},
    command::runtime,
    config::{self, Settings},
    output, parts,
    stack::{self, Addresses},
};

/// Refused messages read at a time.
const PAGE: usize = 200;
/// How long one mended span may take to be sealed.
const SEALED_WITHIN: Duration = Duration::from_secs(30);
/// Bytes of a message that `show` prints where it is no text.
const HEX_MAX: usize = 1024;
/// Type of the span that tells of a discarded message.
const DISCARDED: &str = "quarantine_discarded";

/// Flags of `logline quarantine`.
#[derive(Debug, clap::Args)]
pub(crate) struct Quarantine {
    #[command(subcommand)]
    act: Act,
}

#[derive(Debug, Subcommand)]
enum Act {
    /// List refused messages, the oldest first.
    List(List),
    /// Show one refused message, with its reason and its bytes.
    Show(Show),
    /// Publish refused messages again, as the operator, citing the digest of the raw one.
    Redrive(Redrive),
    /// Remove refused messages for a reason, which a span keeps.
    Discard(Discard),
}

/// Which messages.
#[derive(Debug, clap::Args)]
struct Which {
    /// Their numbers, as `list` shows them.
    #[arg(value_name = "NUMBER")]
    numbers: Vec<u64>,
    /// All that were sent to this tenant.
    #[arg(long, conflicts_with = "numbers")]
    tenant: Option<TenantId>,
    /// All that were refused with this code.
    #[arg(long, conflicts_with = "numbers")]
    code: Option<Code>,
}

/// As whom.
#[derive(Debug, clap::Args)]
struct Operator {
    /// The operator's own name in the tenant, where it is not that of the stack at hand.
    #[arg(long, value_name = "PRINCIPAL")]
    principal: Option<Principal>,
    /// Messages at a time, between two looks at what the bus holds.
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u16).range(1..=1000))]
    chunk: u16,
    /// Spans a second at most.
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u16).range(1..=1000))]
    rate: u16,
}

#[derive(Debug, clap::Args)]
struct List {
    /// Only what was sent to this tenant.
    #[arg(long)]
    tenant: Option<TenantId>,
    /// Only what was refused with this code.
    #[arg(long)]
    code: Option<Code>,
    /// Begin behind this number.
    #[arg(long, default_value_t = 0)]
    after: u64,
    /// How many.
    #[arg(long, default_value_t = 100)]
    limit: usize,
}

#[derive(Debug, clap::Args)]
struct Show {
    /// Its number, as `list` shows it.
    number: u64,
}

#[derive(Debug, clap::Args)]
#[command(
    after_help = "The operator becomes the owner of what is published again. A signed span can only be published again by its author.
Exit codes: 0 all done, 1 some were refused again and stay, 2 could not be done."
)]
struct Redrive {
    #[command(flatten)]
    which: Which,
    /// The mended span, as JSON, in place of the bytes that were refused; for one message.
    #[arg(long, value_name = "FILE")]
    with: Option<PathBuf>,
    /// Say what would be published, and publish nothing.
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    operator: Operator,
}

#[derive(Debug, clap::Args)]
#[command(after_help = "Exit codes: 0 done, 2 could not be done.")]
struct Discard {
    #[command(flatten)]
    which: Which,
    /// Why they may go.
    #[arg(long)]
    reason: String,
    #[command(flatten)]
    operator: Operator,
}

pub(crate) fn run(global: &Global, command: &Quarantine) -> Result<Exit> {
    let settings = config::load_for_stack(global)?;
    let addresses = stack::addresses(&stack::directory(global.dir.as_deref())?).ok();
    let form = output::form(global.output);
    runtime()?.block_on(async {
        let bus =
            Bus::connect(&parts::bus_config(&settings, Login::Operator, "quarantine")).await?;
        let desk = Desk {
            bus,
            settings,
            addresses,
            form,
        };
        let done = match &command.act {
            Act::List(list) => desk.list(list).await,
            Act::Show(show) => desk.show(show.number).await,
            Act::Redrive(redrive) => desk.redrive(redrive).await,
            Act::Discard(discard) => desk.discard(discard).await,
        };
        desk.bus.close().await;
        done
    })
}

/// Where the operator works.
struct Desk {
    bus: Bus,
    settings: Settings,
    addresses: Option<Addresses>,
    form: Output,
}

impl Desk {
    async fn list(&self, list: &List) -> Result<Exit> {
        let (mut next, mut left) = (list.after.saturating_add(1), list.limit);
        if self.form == Output::Table {
            output::line(&format!(
                "{:>8}  {:<27}  {:<14}  {:<24}  {:>8}  ADDRESS",
                "NUMBER", "KEPT", "TENANT", "CODE", "BYTES"
            ))?;
        }
        while left > 0 {
            let page = self.bus.quarantined(next, PAGE).await?;
            let Some(last) = page.last() else { break };
            next = last.number.saturating_add(1);
            for kept in page
                .iter()
                .filter(|kept| is_of(kept, list.tenant.as_ref(), list.code))
                .take(left)
            {
                left = left.saturating_sub(1);
                match self.form {
                    Output::Json | Output::Ndjson => output::line(&summary(kept).to_string())?,
                    Output::Table => output::line(&row(kept))?,
                }
            }
        }
        Ok(Exit::Done)
    }

    async fn show(&self, number: u64) -> Result<Exit> {
        let kept = self.one(number).await?;
        let mut shown = summary(&kept);
        let text = std::str::from_utf8(&kept.body);
        if let Some(fields) = shown.as_object_mut() {
            fields.insert("pointer".to_owned(), kept.pointer.clone().into());
            fields.insert("detail".to_owned(), kept.detail.clone().into());
            fields.insert("content_type".to_owned(), kept.content_type.clone().into());
            match text {
                Ok(text) => fields.insert("body".to_owned(), text.into()),
                Err(_) => fields.insert("body_hex".to_owned(), hex::encode(&kept.body).into()),
            };
        }
        match self.form {
            Output::Json | Output::Ndjson => output::line(&shown.to_string())?,
            Output::Table => {
                if let Some(fields) = shown.as_object_mut() {
                    fields.remove("body");
                    fields.remove("body_hex");
                }
                output::line(&output::fields(&shown))?;
                match text {
                    Ok(text) => text
                        .lines()
                        .try_for_each(|line| output::line(&output::printable(line)))?,
                    Err(_) => {
                        let some = kept.body.get(..HEX_MAX).unwrap_or(&kept.body);
                        output::line(&hex::encode(some))?;
                    }
                }
            }
        }
        Ok(Exit::Done)
    }

    async fn one(&self, number: u64) -> Result<Kept> {
        let page = self.bus.quarantined(number, 1).await?;
        page.into_iter()
            .find(|kept| kept.number == number)
            .with_context(|| {
                format!("there is no message {number} in quarantine; `logline quarantine list` shows those that are there")
            })
    }

    async fn redrive(&self, redrive: &Redrive) -> Result<Exit> {
        let mended = match &redrive.with {
            Some(file) => {
                ensure!(
                    redrive.which.numbers.len() == 1,
                    "--with mends one message: name its number"
                );
                let text =
                    fs::read(file).with_context(|| format!("cannot read `{}`", file.display()))?;
                Some(text)
            }
            None => None,
        };
        self.each(&redrive.which, &redrive.operator, async |kept, principal| {
            let (subject, span) = match self.again(kept, principal, mended.as_deref()) {
                Ok(again) => again,
                Err(error) => return self.stays(kept, &format!("{error:#}")),
            };
            if redrive.dry_run {
                output::line(&json!({"number": kept.number, "subject": subject.to_string(), "span": span}).to_string())?;
                return Ok(true);
            }
            match self.publish(&subject, &span).await? {
                Receipt::Refused(refusal) => self.stays(kept, &refusal.to_string()),
                Receipt::Sealed { id, .. } => {
                    self.bus.remove_quarantined(kept.number).await?;
                    let done = json!({"number": kept.number, "redriven": true, "id": id.to_string()});
                    self.told(kept, &done, &format!("published again as {id}"))
                }
            }
        })
        .await
    }

    async fn discard(&self, discard: &Discard) -> Result<Exit> {
        ensure!(
            !discard.reason.trim().is_empty(),
            "--reason is empty: say why they may go"
        );
        self.each(
            &discard.which,
            &discard.operator,
            async |kept, principal| {
                let entity_type: EntityType = DISCARDED.parse()?;
                let subject = Subject::ingest(&self.tenant(kept)?, principal, &entity_type);
                let digest = kept.digest().to_string();
                let span = json!({
                    "who": principal.as_str(), "did": "discarded", "this": "quarantine",
                    "idempotency_key": format!("discard:{}:{digest}", kept.number),
                    "metadata": {
                        "number": kept.number, "digest": digest, "bytes": kept.body.len(),
                        "code": kept.code.map(Code::as_str), "reason": discard.reason,
                    },
                });
                match self.publish(&subject, &span).await? {
                    Receipt::Refused(refusal) => bail!("the reason was not kept: {refusal}"),
                    Receipt::Sealed { id, .. } => {
                        self.bus.remove_quarantined(kept.number).await?;
                        let done =
                            json!({"number": kept.number, "discarded": true, "id": id.to_string()});
                        self.told(kept, &done, &format!("discarded, as {id} tells"))
                    }
                }
            },
        )
        .await
    }

    /// Does something with each message, in chunks and at a rate; whether all went well.
    async fn each(
        &self,
        which: &Which,
        operator: &Operator,
        act: impl AsyncFn(&Kept, &Principal) -> Result<bool>,
    ) -> Result<Exit> {
        let principal = self.principal(operator)?;
        let period = Duration::from_secs(1)
            .checked_div(u32::from(operator.rate))
            .unwrap_or_default();
        let mut tick = tokio::time::interval(period);
        let mut all = true;
        if which.numbers.is_empty() {
            ensure!(
                which.tenant.is_some() || which.code.is_some(),
                "which messages? Name numbers, --tenant or --code"
            );
            // What is refused again meanwhile is not taken up again.
            let last = self.bus.quarantine_state().await?.last;
            let mut next = 1;
            while next <= last {
                let page = self.bus.quarantined(next, operator.chunk.into()).await?;
                let Some(end) = page.last().map(|kept| kept.number) else {
                    break;
                };
                next = end.saturating_add(1);
                for kept in page
                    .iter()
                    .filter(|it| it.number <= last && is_of(it, which.tenant.as_ref(), which.code))
                {
                    tick.tick().await;
                    all &= act(kept, &principal).await?;
                }
            }
        }
        for number in &which.numbers {
            tick.tick().await;
            all &= act(&self.one(*number).await?, &principal).await?;
        }
        Ok(if all { Exit::Done } else { Exit::No })
    }

    /// The span to publish in place of the refused one, and its address.
    fn again(
        &self,
        kept: &Kept,
        principal: &Principal,
        mended: Option<&[u8]>,
    ) -> Result<(Subject, Value)> {
        let bytes = mended.unwrap_or(&kept.body);
        let mut span: Value = serde_json::from_slice(bytes)
            .context("it is no JSON; write the mended span to a file and give it with --with")?;
        let fields = span.as_object_mut().context("a span is a JSON object")?;
        ensure!(
            !fields.contains_key("signature"),
            "it is signed: only its author can publish it again"
        );
        // It is the operator's from now on.
        fields.remove("owner_id");
        fields.remove("tenant_id");
        let digest = kept.digest().to_string();
        let key = format!("redrive:{}:{digest}", kept.number);
        fields.insert("idempotency_key".to_owned(), key.into());
        let metadata = fields.entry("metadata").or_insert_with(|| json!({}));
        let metadata = metadata
            .as_object_mut()
            .context("its `metadata` is no object, which must name what it stands for")?;
        metadata.insert(
            "redrive".to_owned(),
            json!({"digest": digest, "code": kept.code.map(Code::as_str), "number": kept.number}),
        );
        let named = fields.get("entity_type").and_then(Value::as_str);
        let entity_type: EntityType = match (named, kept.subject_text.parse()) {
            (Some(named), _) => named.parse()?,
            (
                None,
                Ok(Subject::Ingest { entity_type, .. } | Subject::Publish { entity_type, .. }),
            ) => entity_type,
            (None, _) => bail!("it names no entity_type; write it into the mended span"),
        };
        let limits: Limits = self.settings.limits();
        Draft::parse(span.to_string().as_bytes(), Encoding::Json, &limits)?;
        Ok((
            Subject::ingest(&self.tenant(kept)?, principal, &entity_type),
            span,
        ))
    }

    /// Whose it was, else the tenant of the stack at hand.
    fn tenant(&self, kept: &Kept) -> Result<TenantId> {
        if let Some(tenant) = &kept.tenant {
            return Ok(tenant.clone());
        }
        let at_hand = self.addresses.as_ref().map(|it| it.tenant.parse());
        Ok(at_hand.context(
            "its address names no tenant, and there is no stack here whose tenant it could be",
        )??)
    }

    fn principal(&self, operator: &Operator) -> Result<Principal> {
        if let Some(principal) = &operator.principal {
            return Ok(principal.clone());
        }
        let at_hand = self.addresses.as_ref().map(|it| it.principal.parse());
        Ok(at_hand.context("no stack here: --principal is missing")??)
    }

    async fn publish(&self, subject: &Subject, span: &Value) -> Result<Receipt> {
        let outgoing = Outgoing {
            body: span.to_string().into(),
            encoding: Encoding::Json,
            traceparent: None,
            receipt: None,
            depth: None,
        };
        match self
            .bus
            .publish_sealed(subject, outgoing, SEALED_WITHIN)
            .await?
        {
            Answer::Receipt(receipt) => Ok(receipt),
            Answer::Pending { .. } => bail!(
                "it was received and not sealed within {} s: is a projector running? Doing it again doubles nothing",
                SEALED_WITHIN.as_secs()
            ),
        }
    }

    fn stays(&self, kept: &Kept, why: &str) -> Result<bool> {
        let told = json!({"number": kept.number, "redriven": false, "detail": why});
        self.told(kept, &told, &format!("stays: {why}"))?;
        Ok(false)
    }

    fn told(&self, kept: &Kept, told: &Value, sentence: &str) -> Result<bool> {
        match self.form {
            Output::Json | Output::Ndjson => output::line(&told.to_string())?,
            Output::Table => {
                output::line(&output::printable(&format!("{}: {sentence}", kept.number)))?
            }
        }
        Ok(true)
    }
}

/// Whether a message was sent to that tenant and refused with that code, where either is asked for.
fn is_of(kept: &Kept, tenant: Option<&TenantId>, code: Option<Code>) -> bool {
    tenant.is_none_or(|it| kept.tenant.as_ref() == Some(it))
        && code.is_none_or(|it| kept.code == Some(it))
}

fn summary(kept: &Kept) -> Value {
    json!({
        "number": kept.number,
        "kept_at": kept.kept_at.to_string(),
        "tenant": kept.tenant.as_ref().map(TenantId::as_str),
        "code": kept.code.map(Code::as_str),
        "bytes": kept.body.len(),
        "digest": kept.digest().to_string(),
        "subject": kept.subject_text,
    })
}

fn row(kept: &Kept) -> String {
    output::printable(&format!(
        "{:>8}  {:<27}  {:<14}  {:<24}  {:>8}  {}",
        kept.number,
        kept.kept_at.to_string(),
        kept.tenant.as_ref().map_or("", TenantId::as_str),
        kept.code.map_or("", Code::as_str),
        kept.body.len(),
        kept.subject_text
    ))
}
