//! Who may do what on the bus (BUS-6, BUS-7): a login for each part, an account apart for clients, and the words in which
//! a server is told.
//!
//! Clients never share an account with the streams. There the server writes its acknowledgement to whatever reply
//! address a publisher names, and so would forge sealed spans, timers and signed heads on anyone's behalf; across accounts
//! an answer goes back to the account that asked and to nowhere else.

#[cfg(test)]
mod tests;

use std::fmt::{self, Write as _};

use logline_span::{Reader, reserved};

use crate::{
    stream::{CHECKPOINTS, INGEST, TIMELINE, TIMERS},
    subject::{PUBLISH_ROOT, REPLAY_ROOT, token},
};

/// The account of the streams and of the system's parts.
pub const SYSTEM_ACCOUNT: &str = "LOGLINE";
/// The account of everybody else.
pub const CLIENT_ACCOUNT: &str = "CLIENTS";

/// A login of the system. Its name on the server is [`Login::name`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Login {
    /// Whoever sets the system up and looks after it: everything within the system's account.
    Operator,
    /// Seals what `INGEST` holds.
    Projector,
    /// Signs heads.
    Signer,
    /// Makes requests of scheduled functions.
    Observer,
    /// Executes requests.
    Worker,
    /// Publishes for clients and shows them the timeline.
    Api,
    /// Publishes what clients inserted into the ledger's outbox.
    Outbox,
    /// Tells the server who a client is ([`Callout`](crate::Callout)).
    Callout,
}

/// Addresses that a login may publish or subscribe to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rule {
    /// Where it is empty, everything that is not denied.
    pub allow: Vec<String>,
    /// Denied whatever is allowed.
    pub deny: Vec<String>,
}

/// What a login may do.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Permissions {
    /// Where it may publish to.
    pub publish: Rule,
    /// What it may subscribe to.
    pub subscribe: Rule,
}

impl Login {
    /// All of them.
    pub const ALL: [Self; 8] = [
        Self::Operator,
        Self::Projector,
        Self::Signer,
        Self::Observer,
        Self::Worker,
        Self::Api,
        Self::Outbox,
        Self::Callout,
    ];

    /// The user's name on the server.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Operator => "operator",
            Self::Projector => "projector",
            Self::Signer => "signer",
            Self::Observer => "observer",
            Self::Worker => "worker",
            Self::Api => "api",
            Self::Outbox => "outbox",
            Self::Callout => "callout",
        }
    }

    /// What the login may do, no more than its part needs.
    #[must_use]
    pub fn permissions(self) -> Permissions {
        let publish = match self {
            Self::Operator => return Permissions::default(),
            Self::Projector => projector(),
            Self::Signer => signer(),
            Self::Observer => [
                durable(TIMELINE, "actors-observer"),
                durable(TIMERS, "actors-observer-timers"),
                strings(["timer.set.*.*.*", "$JS.API.STREAM.PURGE.TIMERS"]),
                written(
                    "edge:observer",
                    &["request", "policy_violation", "incident"],
                ),
            ]
            .concat(),
            Self::Worker => [
                durable(TIMELINE, "actors-worker"),
                written(
                    "edge:run_code",
                    &["execution", "status_patch", "policy_violation", "incident"],
                ),
                written("edge:worker", &["incident"]),
            ]
            .concat(),
            Self::Api => api(),
            Self::Outbox => strings(["ingest.*.*.>"]),
            Self::Callout => return callout(),
        };
        let deny = match self {
            Self::Api | Self::Outbox => reserved_intake(),
            Self::Operator
            | Self::Projector
            | Self::Signer
            | Self::Observer
            | Self::Worker
            | Self::Callout => Vec::new(),
        };
        let mut heard = vec![format!("{}.>", inbox_prefix(self.name()))];
        match self {
            Self::Api => heard.extend(strings(["logline.>", "receipt.>", "$SRV.>"])),
            Self::Outbox => heard.extend(strings(["receipt.>"])),
            Self::Operator
            | Self::Projector
            | Self::Signer
            | Self::Observer
            | Self::Worker
            | Self::Callout => {}
        }
        let mut allow = publish;
        allow.push("$JS.API.STREAM.INFO.*".to_owned());
        Permissions {
            publish: Rule { allow, deny },
            subscribe: Rule {
                allow: heard,
                deny: Vec::new(),
            },
        }
    }
}

fn projector() -> Vec<String> {
    let mut allow = durable(INGEST, "projector-0");
    allow.extend(strings([
        "$JS.API.CONSUMER.RESET.INGEST.projector-0",
        "$JS.API.STREAM.PURGE.INGEST",
        "$JS.API.STREAM.MSG.GET.INGEST",
        "$JS.API.DIRECT.GET.INGEST",
        "$JS.API.DIRECT.GET.TIMELINE",
        "timeline.>",
        "quarantine.*.*",
        "receipt.*.*.>",
        "_R_.>",
    ]));
    allow.extend(written("edge:projector", &["incident"]));
    allow
}

fn signer() -> Vec<String> {
    let mut allow = tails();
    allow.extend([
        format!("$JS.API.DIRECT.GET.{CHECKPOINTS}"),
        "ledger.checkpoint.*".to_owned(),
    ]);
    allow.extend(written("edge:signer", &["incident"]));
    allow
}

/// Publishing for any principal but the system's, answers, and readers of the timeline that go with their clients.
fn api() -> Vec<String> {
    let mut allow = tails();
    allow.extend(strings([
        "ingest.*.*.>",
        "quarantine.*.*",
        "receipt.*.*.>",
        "_R_.>",
        // The service answers who looks for services.
        "_INBOX.>",
    ]));
    allow
}

/// Hears the server's questions and answers them, and nothing else.
fn callout() -> Permissions {
    Permissions {
        publish: Rule {
            allow: strings(["_INBOX.>", "$SYS._INBOX.>"]),
            deny: Vec::new(),
        },
        subscribe: Rule {
            allow: strings(["$SYS.REQ.USER.AUTH"]),
            deny: Vec::new(),
        },
    }
}

/// What a person may do: publish as themselves, hear what the ledger would show them (BUS-6), and their own receipts.
#[must_use]
pub fn client_permissions(reader: &Reader) -> Permissions {
    let (tenant, principal) = (&reader.tenant, token::encoded(reader.principal.as_str()));
    let rule = |addresses: Vec<String>| Rule {
        allow: addresses,
        deny: Vec::new(),
    };
    Permissions {
        publish: rule(vec![
            format!("ingest.{tenant}.{principal}.>"),
            format!("{PUBLISH_ROOT}.{tenant}.{principal}.>"),
            format!("{REPLAY_ROOT}.{tenant}.{principal}"),
        ]),
        subscribe: rule(vec![
            format!("timeline.{tenant}.private.{principal}.>"),
            format!("timeline.{tenant}.tenant.>"),
            "timeline.*.public.>".to_owned(),
            format!("ledger.checkpoint.{tenant}"),
            format!("receipt.{tenant}.{principal}.>"),
        ]),
    }
}

/// Consumers without a durable place.
fn tails() -> Vec<String> {
    ["CREATE", "MSG.NEXT", "DELETE"]
        .map(|call| format!("$JS.API.CONSUMER.{call}.{TIMELINE}.*"))
        .to_vec()
}

/// What the reader of one durable consumer asks of the server.
fn durable(stream: &str, consumer: &str) -> Vec<String> {
    let mut allow: Vec<String> = ["CREATE", "INFO", "MSG.NEXT", "UNPIN"]
        .iter()
        .map(|call| format!("$JS.API.CONSUMER.{call}.{stream}.{consumer}"))
        .collect();
    allow.push(format!("$JS.ACK.{stream}.{consumer}.>"));
    allow
}

/// Addresses of the spans that a part writes as one of the system's principals.
fn written(principal: &str, entity_types: &[&str]) -> Vec<String> {
    let principal = token::encoded(principal);
    entity_types
        .iter()
        .map(|entity_type| format!("ingest.*.{principal}.{entity_type}"))
        .collect()
}

fn strings<const N: usize>(texts: [&str; N]) -> Vec<String> {
    texts.map(str::to_owned).to_vec()
}

/// `INGEST` under the system's principals. A wildcard is a whole token, so each has an entry of its own.
fn reserved_intake() -> Vec<String> {
    reserved::PRINCIPALS
        .iter()
        .map(|principal| format!("ingest.*.{}.>", token::encoded(principal)))
        .collect()
}

/// The addresses that only the system's own credentials may publish to (BUS-1, BUS-7).
#[must_use]
pub fn system_addresses() -> Vec<String> {
    let mut addresses = strings(["timeline.>", "timer.>", "ledger.>", "receipt.>"]);
    addresses.extend(reserved_intake());
    addresses
}

/// Where a login's answers come in: apart from those of other logins of the account.
pub(crate) fn inbox_prefix(user: &str) -> String {
    format!("_INBOX.{}", token::encoded(user))
}

/// What the system's account offers to clients, and nothing beyond: each is bounded again by the client's permissions.
/// A replay has many answers.
const SERVICES: [(&str, &str); 3] = [
    ("ingest.*.*.>", "singleton"),
    ("logline.publish.*.*.>", "singleton"),
    ("logline.replay.*.*", "stream"),
];
/// What clients may be let listen to.
const FEEDS: [&str; 3] = ["timeline.*.*.*.*.>", "receipt.*.*.>", "ledger.checkpoint.*"];

/// How clients get in.
#[derive(Clone, Debug)]
pub enum Clients {
    /// Without a password, as anyone but the system: for a server on loopback, in development (BUS-7).
    Open,
    /// With a token, as its holder: the server asks the part that runs the [`Callout`](crate::Callout).
    Callout {
        /// The public name of the callout's key ([`issuer`](crate::issuer)), or a variable such as `$NAME`.
        issuer: String,
    },
}

/// The accounts of a server, for its configuration file: the system's logins with their passwords, and the clients' door.
/// A password is written as it is given: a quoted text, or `$NAME` for a variable of the server's environment.
#[must_use]
pub fn accounts(password: impl Fn(Login) -> String, clients: &Clients) -> String {
    let mut text = String::new();
    // Writing to a `String` does not fail.
    let _ = write_accounts(&mut text, password, clients);
    text
}

fn write_accounts(
    text: &mut String,
    password: impl Fn(Login) -> String,
    clients: &Clients,
) -> fmt::Result {
    writeln!(
        text,
        "accounts {{\n  {SYSTEM_ACCOUNT} {{\n    jetstream: enabled\n    users: ["
    )?;
    for login in Login::ALL {
        let (name, password) = (login.name(), password(login));
        write!(text, "      {{ user: {name}, password: {password}")?;
        write_permissions(text, &login.permissions())?;
        writeln!(text, " }}")?;
    }
    writeln!(text, "    ]\n    exports: [")?;
    for (service, answers) in SERVICES {
        writeln!(
            text,
            "      {{ service: \"{service}\", response: {answers} }}"
        )?;
    }
    for feed in FEEDS {
        writeln!(text, "      {{ stream: \"{feed}\" }}")?;
    }
    writeln!(text, "    ]\n  }}\n  {CLIENT_ACCOUNT} {{\n    imports: [")?;
    for (service, _) in SERVICES {
        writeln!(
            text,
            "      {{ service: {{ account: {SYSTEM_ACCOUNT}, subject: \"{service}\" }} }}"
        )?;
    }
    for feed in FEEDS {
        writeln!(
            text,
            "      {{ stream: {{ account: {SYSTEM_ACCOUNT}, subject: \"{feed}\" }} }}"
        )?;
    }
    writeln!(text, "    ]")?;
    match clients {
        Clients::Open => {
            let permissions = Permissions {
                publish: Rule {
                    allow: Vec::new(),
                    deny: system_addresses(),
                },
                subscribe: Rule::default(),
            };
            // The password is no secret: without one, everybody gets this very login.
            write!(text, "    users: [ {{ user: local, password: local")?;
            write_permissions(text, &permissions)?;
            writeln!(text, " }} ]\n  }}\n}}\nno_auth_user: local")
        }
        Clients::Callout { issuer } => {
            let parts = Login::ALL.map(Login::name).join(", ");
            writeln!(
                text,
                "  }}\n}}\nauthorization {{\n  timeout: 5\n  auth_callout {{\n    issuer: {issuer}\n    \
                 account: {SYSTEM_ACCOUNT}\n    auth_users: [ {parts} ]\n  }}\n}}"
            )
        }
    }
}

fn write_permissions(text: &mut String, permissions: &Permissions) -> fmt::Result {
    let Permissions { publish, subscribe } = permissions;
    let rules: Vec<_> = [("publish", publish), ("subscribe", subscribe)]
        .into_iter()
        .filter(|(_, rule)| **rule != Rule::default())
        .map(|(verb, rule)| format!("{verb}: {{ {} }}", words(rule)))
        .collect();
    if rules.is_empty() {
        return Ok(());
    }
    write!(text, ", permissions: {{ {} }}", rules.join(", "))
}

fn words(rule: &Rule) -> String {
    let lists: Vec<_> = [("allow", &rule.allow), ("deny", &rule.deny)]
        .into_iter()
        .filter(|(_, addresses)| !addresses.is_empty())
        .map(|(kind, addresses)| {
            let quoted: Vec<_> = addresses.iter().map(|it| format!("\"{it}\"")).collect();
            format!("{kind}: [{}]", quoted.join(", "))
        })
        .collect();
    lists.join(", ")
}
