//! The filters that pages and streams have in common.

use logline_bus::Filter;
use logline_ledger::Query;
use logline_span::{Reader, Sealed, Visibility};

use crate::{parameters::Parameters, problem::Problem};

/// Longest `who` that any span has.
const WHO_BYTES_MAX: usize = 256;

/// Names of the filters; all that are given hold together.
pub(crate) const FILTERS: [&str; 10] = [
    "entity_type",
    "owner_id",
    "tenant_id",
    "who",
    "status",
    "trace_id",
    "parent_id",
    "related_to",
    "since",
    "until",
];

/// What a reader wants to see.
pub(crate) struct Filters(pub(crate) Query);

impl Filters {
    pub(crate) fn take(parameters: &mut Parameters) -> Result<Self, Problem> {
        let who = parameters.text("who");
        if who
            .as_ref()
            .is_some_and(|who| who.len() > WHO_BYTES_MAX || who.contains('\0'))
        {
            let detail = format!("must be at most {WHO_BYTES_MAX} bytes without U+0000");
            return Err(Problem::parameter("who", detail));
        }
        Ok(Self(Query {
            entity_type: parameters.take("entity_type")?,
            owner_id: parameters.take("owner_id")?,
            tenant_id: parameters.take("tenant_id")?,
            who,
            status: parameters.take("status")?,
            trace_id: parameters.take("trace_id")?,
            parent_id: parameters.take("parent_id")?,
            related_to: parameters.take("related_to")?,
            since: parameters.take("since")?,
            until: parameters.take("until")?,
            ..Query::default()
        }))
    }

    /// Whether a span of the timeline is wanted.
    pub(crate) fn matches(&self, sealed: &Sealed) -> bool {
        let Self(wanted) = self;
        let span = &sealed.span;
        let equal = wanted
            .entity_type
            .as_ref()
            .is_none_or(|it| *it == span.entity_type)
            && wanted
                .owner_id
                .as_ref()
                .is_none_or(|it| *it == span.owner_id)
            && wanted
                .tenant_id
                .as_ref()
                .is_none_or(|it| *it == span.tenant_id)
            && wanted.who.as_ref().is_none_or(|it| *it == span.who)
            && wanted
                .status
                .as_ref()
                .is_none_or(|it| Some(it) == span.status.as_ref())
            && wanted.trace_id.is_none_or(|it| it == span.trace_id)
            && wanted.parent_id.is_none_or(|it| Some(it) == span.parent_id);
        equal
            && wanted
                .related_to
                .is_none_or(|it| span.related_to.contains(&it))
            && wanted.since.is_none_or(|it| it <= span.at)
            && wanted.until.is_none_or(|it| span.at <= it)
    }

    /// The addresses that hold what the reader wants and may read: its own private ones, its tenant's, all public ones.
    pub(crate) fn addresses(&self, reader: Option<&Reader>) -> Vec<Filter> {
        let Self(wanted) = self;
        let mut all = Filter::timeline();
        if let Some(status) = &wanted.status {
            all = all.status(Some(status.clone()));
        }
        if let Some(entity_type) = &wanted.entity_type {
            all = all.entity_type(entity_type.clone());
        }
        let of_owner = |filter: Filter| match &wanted.owner_id {
            Some(owner) => filter.owner(owner.clone()),
            None => filter,
        };
        let public = of_owner(all.clone().visibility(Visibility::Public));
        let mut addresses = vec![match &wanted.tenant_id {
            Some(tenant) => public.tenant(tenant.clone()),
            None => public,
        }];
        let Some(reader) = reader else {
            return addresses;
        };
        if wanted
            .tenant_id
            .as_ref()
            .is_none_or(|tenant| *tenant == reader.tenant)
        {
            let own = all.tenant(reader.tenant.clone());
            addresses.push(of_owner(own.clone().visibility(Visibility::Tenant)));
            if wanted
                .owner_id
                .as_ref()
                .is_none_or(|owner| *owner == reader.principal)
            {
                addresses.push(
                    own.visibility(Visibility::Private)
                        .owner(reader.principal.clone()),
                );
            }
        }
        addresses
    }
}

#[cfg(test)]
mod tests {
    use expect_test::{Expect, expect};

    use super::*;

    fn check(query: &str, reader: Option<&str>, addresses: Expect) {
        let uri = format!("/?{query}").parse().unwrap();
        let mut parameters = Parameters::parse(&uri, &FILTERS).unwrap();
        let filters = Filters::take(&mut parameters).unwrap();
        let reader = reader.map(|principal| Reader {
            tenant: "acme".parse().unwrap(),
            principal: principal.parse().unwrap(),
        });
        let found: Vec<String> = filters
            .addresses(reader.as_ref())
            .iter()
            .map(ToString::to_string)
            .collect();
        addresses.assert_eq(&found.join("\n"));
    }

    #[test]
    fn a_reader_is_given_the_addresses_of_what_it_may_read() {
        check("", None, expect!["timeline.*.public.*.*.>"]);
        check(
            "",
            Some("alice"),
            expect![[r#"
                timeline.*.public.*.*.>
                timeline.acme.tenant.*.*.>
                timeline.acme.private.alice.*.>"#]],
        );
    }

    #[test]
    fn filters_narrow_the_addresses() {
        check(
            "status=scheduled&entity_type=function&owner_id=bob",
            Some("alice"),
            expect![[r#"
                timeline.*.public.bob.scheduled.function
                timeline.acme.tenant.bob.scheduled.function"#]],
        );
        check(
            "tenant_id=other",
            Some("alice"),
            expect!["timeline.other.public.*.*.>"],
        );
    }
}
