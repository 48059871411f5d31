//! Filters: addresses of the timeline with wildcards.

use std::fmt;

use logline_span::{EntityType, Principal, Status, TenantId, Visibility};

use super::{NONE, token};

/// Which addresses of the timeline a reader wants.
///
/// ```
/// use logline_bus::Filter;
///
/// let wanted = Filter::timeline()
///     .status(Some("scheduled".parse().unwrap()))
///     .entity_type("function".parse().unwrap());
/// assert_eq!(wanted.to_string(), "timeline.*.*.*.scheduled.function");
/// assert_eq!(Filter::timeline().to_string(), "timeline.*.*.*.*.>");
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Filter {
    tenant: Option<TenantId>,
    visibility: Option<Visibility>,
    owner: Option<Principal>,
    status: Option<Option<Status>>,
    entity: Entity,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Entity {
    Any,
    Exactly(EntityType),
    Below(EntityType),
}

impl Filter {
    /// Every address of the timeline, to be narrowed.
    #[must_use]
    pub fn timeline() -> Self {
        Self {
            tenant: None,
            visibility: None,
            owner: None,
            status: None,
            entity: Entity::Any,
        }
    }

    /// Of one tenant.
    #[must_use]
    pub fn tenant(mut self, tenant: TenantId) -> Self {
        self.tenant = Some(tenant);
        self
    }

    /// Of one visibility.
    #[must_use]
    pub fn visibility(mut self, visibility: Visibility) -> Self {
        self.visibility = Some(visibility);
        self
    }

    /// Of one owner.
    #[must_use]
    pub fn owner(mut self, owner: Principal) -> Self {
        self.owner = Some(owner);
        self
    }

    /// Of one status, or without any.
    #[must_use]
    pub fn status(mut self, status: Option<Status>) -> Self {
        self.status = Some(status);
        self
    }

    /// Of exactly one type.
    #[must_use]
    pub fn entity_type(mut self, entity_type: EntityType) -> Self {
        self.entity = Entity::Exactly(entity_type);
        self
    }

    /// Of every type below a group: `law` takes `law.decision`, not `law` itself.
    #[must_use]
    pub fn entity_group(mut self, group: EntityType) -> Self {
        self.entity = Entity::Below(group);
        self
    }
}

impl fmt::Display for Filter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const ANY: &str = "*";
        let tenant = self.tenant.as_ref().map_or(ANY, TenantId::as_str);
        let visibility = self
            .visibility
            .map_or_else(|| ANY.into(), |it| it.to_string());
        let owner = self
            .owner
            .as_ref()
            .map_or(ANY.into(), |it| token::encoded(it.as_str()));
        let status = match &self.status {
            None => ANY,
            Some(None) => NONE,
            Some(Some(status)) => status.as_str(),
        };
        write!(f, "timeline.{tenant}.{visibility}.{owner}.{status}.")?;
        match &self.entity {
            Entity::Any => f.write_str(">"),
            Entity::Exactly(entity_type) => write!(f, "{entity_type}"),
            Entity::Below(group) => write!(f, "{group}.>"),
        }
    }
}
