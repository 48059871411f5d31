//! The query string: every parameter is known, given once and well formed, or the request is refused.

use std::str::FromStr;

use axum::{extract::Query, http::Uri};
use logline_span::Refusal;

use crate::problem::Problem;

/// The parameters of one request, taken one by one.
pub(crate) struct Parameters(Vec<(String, String)>);

impl Parameters {
    /// Reads the query string of `uri`, which may hold each of `known` once.
    pub(crate) fn parse(uri: &Uri, known: &[&str]) -> Result<Self, Problem> {
        let Query(pairs) = Query::<Vec<(String, String)>>::try_from_uri(uri)
            .map_err(|_| Problem::parameter("", "the query string does not parse"))?;
        for (index, (name, _)) in pairs.iter().enumerate() {
            if !known.contains(&name.as_str()) {
                let detail = match known {
                    [] => "takes no query parameters".to_owned(),
                    known => format!("is no parameter of this call; known: {}", known.join(", ")),
                };
                return Err(Problem::parameter(name, detail));
            }
            if pairs.iter().skip(index + 1).any(|(other, _)| other == name) {
                return Err(Problem::parameter(name, "is given more than once"));
            }
        }
        Ok(Self(pairs))
    }

    /// The parameter's text.
    pub(crate) fn text(&mut self, name: &str) -> Option<String> {
        let index = self.0.iter().position(|(given, _)| given == name)?;
        Some(self.0.swap_remove(index).1)
    }

    /// The parameter as a name or number of the envelope.
    pub(crate) fn take<T: FromStr<Err = Refusal>>(
        &mut self,
        name: &str,
    ) -> Result<Option<T>, Problem> {
        let Some(text) = self.text(name) else {
            return Ok(None);
        };
        match text.parse() {
            Ok(value) => Ok(Some(value)),
            Err(refusal) => Err(Problem::parameter(name, refusal.detail)),
        }
    }
}

#[cfg(test)]
mod tests {
    use logline_span::TenantId;

    use super::*;

    fn refusal(query: &str) -> String {
        let uri = format!("/api/timeline?{query}").parse().unwrap();
        let taken = Parameters::parse(&uri, &["tenant_id", "who"])
            .and_then(|mut parameters| parameters.take::<TenantId>("tenant_id"));
        format!("{:?}", taken.unwrap_err())
    }

    #[test]
    fn an_unknown_parameter_is_refused_with_its_name() {
        let refusal = refusal("who=a&whom=b");
        assert!(refusal.contains("\"/whom\""), "{refusal}");
        assert!(refusal.contains("known: tenant_id, who"), "{refusal}");
    }

    #[test]
    fn a_repeated_parameter_is_refused() {
        assert!(refusal("who=a&who=b").contains("more than once"));
    }

    #[test]
    fn a_malformed_value_is_refused_without_being_shown() {
        let refusal = refusal("tenant_id=Secret");
        assert!(refusal.contains("\"/tenant_id\""), "{refusal}");
        assert!(!refusal.contains("Secret"), "{refusal}");
    }

    #[test]
    fn a_value_is_percent_decoded_and_taken() {
        let uri = "/?who=alice%40acme.com&tenant_id=acme".parse().unwrap();
        let mut parameters = Parameters::parse(&uri, &["tenant_id", "who"]).unwrap();
        assert_eq!(parameters.text("who").as_deref(), Some("alice@acme.com"));
        let tenant: Option<TenantId> = parameters.take("tenant_id").unwrap();
        assert_eq!(tenant.unwrap().as_str(), "acme");
        assert!(parameters.text("who").is_none());
    }
}
