//! Addresses: the one place that builds and parses them (`docs/subjects.md` is rendered from here).

mod filter;
mod page;
pub(crate) mod token;

#[cfg(test)]
mod tests;

use std::{fmt, str::FromStr};

use logline_span::{Code, EntityType, Principal, Refusal, Status, TenantId, Visibility};

pub use filter::Filter;
pub use page::page;
pub use token::Token;

/// Where the service `logline` takes spans.
pub(crate) const PUBLISH_ROOT: &str = "logline.publish";
/// Where the service `logline` is asked for what was sealed.
pub(crate) const REPLAY_ROOT: &str = "logline.replay";

/// The token that stands for an absent value.
const NONE: &str = "_";

/// An address on the bus (BUS-1: on the way in, the address is the identity).
///
/// ```
/// use logline_bus::Subject;
///
/// let subject: Subject = "ingest.acme.employee@company%2Ecom.law.decision".parse().unwrap();
/// let Subject::Ingest { tenant, principal, entity_type } = &subject else { panic!() };
/// assert_eq!(tenant.as_str(), "acme");
/// assert_eq!(principal.as_str(), "employee@company.com");
/// assert_eq!(entity_type.as_str(), "law.decision");
/// assert_eq!(subject.to_string(), "ingest.acme.employee@company%2Ecom.law.decision");
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Subject {
    /// What someone wants sealed.
    Ingest {
        /// The tenant that it is for.
        tenant: TenantId,
        /// Who publishes.
        principal: Principal,
        /// What kind of span it is.
        entity_type: EntityType,
    },
    /// A sealed span.
    Timeline {
        /// The tenant that it belongs to.
        tenant: TenantId,
        /// Who may read it.
        visibility: Visibility,
        /// Whose it is.
        owner: Principal,
        /// Its status, where it has one.
        status: Option<Status>,
        /// What kind of span it is.
        entity_type: EntityType,
    },
    /// Sets, replaces or cancels a timer.
    TimerSet {
        /// The tenant that it belongs to.
        tenant: TenantId,
        /// Which part of the system it wakes.
        kind: Token,
        /// Which timer of that part it is.
        id: Token,
    },
    /// A timer that fired.
    TimerDue {
        /// The tenant that it belongs to.
        tenant: TenantId,
        /// Which part of the system it wakes.
        kind: Token,
        /// Which timer of that part it is.
        id: Token,
    },
    /// The newest signed head of a tenant's chain.
    Checkpoint {
        /// The tenant whose chain it is.
        tenant: TenantId,
    },
    /// A refused message.
    Quarantine {
        /// The tenant of the refused address; none where it names no valid one.
        tenant: Option<TenantId>,
        /// Why it was refused.
        code: Code,
    },
    /// A request to the service `logline` to publish.
    Publish {
        /// The tenant that it is for.
        tenant: TenantId,
        /// Who publishes.
        principal: Principal,
        /// What kind of span it is.
        entity_type: EntityType,
    },
    /// A request to the service `logline` for what of the timeline someone may see.
    Replay {
        /// The reader's tenant.
        tenant: TenantId,
        /// Who reads.
        principal: Principal,
    },
}

impl Subject {
    /// The address of an identity's span on the way in.
    #[must_use]
    pub fn ingest(tenant: &TenantId, principal: &Principal, entity_type: &EntityType) -> Self {
        Self::Ingest {
            tenant: tenant.clone(),
            principal: principal.clone(),
            entity_type: entity_type.clone(),
        }
    }

    /// The address under which a sealed span is published.
    #[must_use]
    pub fn timeline(span: &logline_span::Span) -> Self {
        Self::Timeline {
            tenant: span.tenant_id.clone(),
            visibility: span.visibility,
            owner: span.owner_id.clone(),
            status: span.status.clone(),
            entity_type: span.entity_type.clone(),
        }
    }

    /// The tenant in the address.
    #[must_use]
    pub fn tenant(&self) -> Option<&TenantId> {
        match self {
            Self::Ingest { tenant, .. }
            | Self::Timeline { tenant, .. }
            | Self::TimerSet { tenant, .. }
            | Self::TimerDue { tenant, .. }
            | Self::Checkpoint { tenant }
            | Self::Publish { tenant, .. }
            | Self::Replay { tenant, .. } => Some(tenant),
            Self::Quarantine { tenant, .. } => tenant.as_ref(),
        }
    }

    /// The address with names in place of values, for trace spans.
    #[must_use]
    pub fn template(&self) -> &'static str {
        match self {
            Self::Ingest { .. } => "ingest.{tenant}.{principal}.{entity_type}",
            Self::Timeline { .. } => {
                "timeline.{tenant}.{visibility}.{owner}.{status}.{entity_type}"
            }
            Self::TimerSet { .. } => "timer.set.{tenant}.{kind}.{id}",
            Self::TimerDue { .. } => "timer.due.{tenant}.{kind}.{id}",
            Self::Checkpoint { .. } => "ledger.checkpoint.{tenant}",
            Self::Quarantine { .. } => "quarantine.{tenant}.{code}",
            Self::Publish { .. } => "logline.publish.{tenant}.{principal}.{entity_type}",
            Self::Replay { .. } => "logline.replay.{tenant}.{principal}",
        }
    }

    /// The tenant that an address on the way in claims, where that token alone is valid.
    #[must_use]
    pub fn claimed_tenant(text: &str) -> Option<TenantId> {
        let rest = text
            .strip_prefix("ingest.")
            .or_else(|| text.strip_prefix("logline.publish."))?;
        rest.split('.').next()?.parse().ok()
    }
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ingest {
                tenant,
                principal,
                entity_type,
            } => {
                let principal = token::encoded(principal.as_str());
                write!(f, "ingest.{tenant}.{principal}.{entity_type}")
            }
            Self::Timeline {
                tenant,
                visibility,
                owner,
                status,
                entity_type,
            } => {
                let owner = token::encoded(owner.as_str());
                let status = status.as_ref().map_or(NONE, Status::as_str);
                write!(
                    f,
                    "timeline.{tenant}.{visibility}.{owner}.{status}.{entity_type}"
                )
            }
            Self::TimerSet { tenant, kind, id } => {
                write!(f, "timer.set.{tenant}.{}.{}", kind.encoded(), id.encoded())
            }
            Self::TimerDue { tenant, kind, id } => {
                write!(f, "timer.due.{tenant}.{}.{}", kind.encoded(), id.encoded())
            }
            Self::Checkpoint { tenant } => write!(f, "ledger.checkpoint.{tenant}"),
            Self::Quarantine { tenant, code } => {
                let tenant = tenant.as_ref().map_or(NONE, TenantId::as_str);
                write!(f, "quarantine.{tenant}.{}", code.as_str())
            }
            Self::Publish {
                tenant,
                principal,
                entity_type,
            } => {
                let principal = token::encoded(principal.as_str());
                write!(f, "{PUBLISH_ROOT}.{tenant}.{principal}.{entity_type}")
            }
            Self::Replay { tenant, principal } => {
                let principal = token::encoded(principal.as_str());
                write!(f, "{REPLAY_ROOT}.{tenant}.{principal}")
            }
        }
    }
}

impl FromStr for Subject {
    type Err = Refusal;

    /// Takes exactly what `Display` writes: a token that decodes but is not the canonical encoding is refused.
    fn from_str(text: &str) -> Result<Self, Refusal> {
        let Some((namespace, rest)) = text.split_once('.') else {
            return Err(refusal("is no address of this system"));
        };
        let mut tokens = Tokens(Some(rest));
        let subject = match namespace {
            "ingest" => Self::Ingest {
                tenant: tokens.parse("tenant")?,
                principal: tokens.decode("principal")?,
                entity_type: tokens.rest("entity_type")?,
            },
            "timeline" => Self::Timeline {
                tenant: tokens.parse("tenant")?,
                visibility: tokens.parse("visibility")?,
                owner: tokens.decode("owner")?,
                status: tokens.optional("status")?,
                entity_type: tokens.rest("entity_type")?,
            },
            "timer" => {
                let act = tokens.next("act")?;
                let tenant = tokens.parse("tenant")?;
                let kind = tokens.decode("kind")?;
                let id = tokens.decode("id")?;
                match act {
                    "set" => Self::TimerSet { tenant, kind, id },
                    "due" => Self::TimerDue { tenant, kind, id },
                    _ => return Err(refusal("is no address of this system")),
                }
            }
            "ledger" => {
                tokens.literal("checkpoint")?;
                Self::Checkpoint {
                    tenant: tokens.parse("tenant")?,
                }
            }
            "quarantine" => Self::Quarantine {
                tenant: tokens.optional("tenant")?,
                code: tokens.parse("code")?,
            },
            "logline" => {
                let act = tokens.next("act")?;
                let tenant = tokens.parse("tenant")?;
                let principal = tokens.decode("principal")?;
                match act {
                    "publish" => Self::Publish {
                        tenant,
                        principal,
                        entity_type: tokens.rest("entity_type")?,
                    },
                    "replay" => Self::Replay { tenant, principal },
                    _ => return Err(refusal("is no address of this system")),
                }
            }
            _ => return Err(refusal("is no address of this system")),
        };
        tokens.end()?;
        Ok(subject)
    }
}

/// What is left of an address, taken token by token.
struct Tokens<'a>(Option<&'a str>);

impl<'a> Tokens<'a> {
    fn next(&mut self, name: &str) -> Result<&'a str, Refusal> {
        let rest = self.0.ok_or_else(|| missing(name))?;
        let (token, rest) = match rest.split_once('.') {
            Some((token, rest)) => (token, Some(rest)),
            None => (rest, None),
        };
        self.0 = rest;
        if token.is_empty() {
            return Err(missing(name));
        }
        Ok(token)
    }

    fn literal(&mut self, wanted: &str) -> Result<(), Refusal> {
        if self.next(wanted)? == wanted {
            Ok(())
        } else {
            Err(refusal("is no address of this system"))
        }
    }

    fn parse<T: FromStr>(&mut self, name: &str) -> Result<T, Refusal> {
        self.next(name)?.parse().map_err(|_| invalid(name))
    }

    fn decode<T: FromStr>(&mut self, name: &str) -> Result<T, Refusal> {
        let text = token::decoded(self.next(name)?).ok_or_else(|| invalid(name))?;
        text.parse().map_err(|_| invalid(name))
    }

    fn optional<T: FromStr>(&mut self, name: &str) -> Result<Option<T>, Refusal> {
        match self.next(name)? {
            NONE => Ok(None),
            token => token.parse().map(Some).map_err(|_| invalid(name)),
        }
    }

    /// The remaining tokens, whose dots belong to the value.
    fn rest<T: FromStr>(&mut self, name: &str) -> Result<T, Refusal> {
        let rest = self.0.take().ok_or_else(|| missing(name))?;
        rest.parse().map_err(|_| invalid(name))
    }

    fn end(self) -> Result<(), Refusal> {
        match self.0 {
            None => Ok(()),
            Some(_) => Err(refusal("has more tokens than an address of its kind")),
        }
    }
}

fn missing(name: &str) -> Refusal {
    refusal(&format!("names no {name}"))
}

fn invalid(name: &str) -> Refusal {
    refusal(&format!("names no valid {name}"))
}

fn refusal(fault: &str) -> Refusal {
    Refusal::new(Code::InvalidAddress, format!("the address {fault}"))
}
