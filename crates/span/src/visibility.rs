//! Who may read a span (the rule that row-level security and bus permissions mirror).

use crate::ids::{Principal, TenantId, Visibility};

/// An authenticated reader; an anonymous one is `None` in an `Option<Reader>` and reads public spans only.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Reader {
    /// The reader's tenant.
    pub tenant: TenantId,
    /// The reader's name within the tenant.
    pub principal: Principal,
}

impl Reader {
    /// Whether this reader may see a span of `owner` in `tenant` with that visibility.
    pub fn may_read(&self, tenant: &TenantId, owner: &Principal, visibility: Visibility) -> bool {
        match visibility {
            Visibility::Public => true,
            Visibility::Tenant => self.tenant == *tenant,
            Visibility::Private => self.tenant == *tenant && self.principal == *owner,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_person_is_the_pair_of_tenant_and_principal() {
        let name = |text: &str| text.parse::<Principal>().unwrap();
        let (acme, globex): (TenantId, TenantId) =
            ("acme".parse().unwrap(), "globex".parse().unwrap());
        let reader = Reader {
            tenant: acme.clone(),
            principal: name("alice"),
        };
        assert!(reader.may_read(&acme, &name("alice"), Visibility::Private));
        assert!(!reader.may_read(&acme, &name("bob"), Visibility::Private));
        assert!(
            !reader.may_read(&globex, &name("alice"), Visibility::Private),
            "the same name elsewhere"
        );
        assert!(reader.may_read(&acme, &name("bob"), Visibility::Tenant));
        assert!(!reader.may_read(&globex, &name("bob"), Visibility::Tenant));
        assert!(reader.may_read(&globex, &name("bob"), Visibility::Public));
    }
}
