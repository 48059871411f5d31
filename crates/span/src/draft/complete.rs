//! From what a client sent to what may be sealed: every rule that needs no ledger, every default (SPAN-1, 2, 5, 7, 9, BUS-1).

use super::{Arrival, Draft, Limits, RELATED_MAX, TEXT_CHARS_MAX};
use crate::envelope::Span;
use crate::ids::{Seq, TraceId};
use crate::refusal::{Code, Refusal};
use crate::reserved;
use crate::signature;

/// No character grows more than this in canonical text (`\u001f`).
const ESCAPE_GROWTH_MAX: usize = 6;
/// More than all keys, ids, hashes and numbers of an envelope take together.
const FIXED_BYTES_MAX: usize = 2048;
/// A UUID with quotes and comma.
const ID_BYTES: usize = 39;

impl Draft {
    /// Checks everything that can be checked without the ledger and fills in what is absent.
    ///
    /// ```
    /// use logline_span::{Arrival, Draft, Encoding, Limits, SpanId, Timestamp};
    /// let body = br#"{"who":"alice","this":"door"}"#;
    /// let received_at = Timestamp::from_micros(1_700_000_000_000_000);
    /// let arrival = Arrival {
    ///     tenant: &"acme".parse().unwrap(),
    ///     principal: &"alice".parse().unwrap(),
    ///     entity_type: Some(&"activity".parse().unwrap()),
    ///     received_at,
    ///     trace_id: None,
    ///     id: SpanId::derived(1_700_000_000_000_000_000, "ingest.acme.alice.activity", body),
    /// };
    /// let draft = Draft::parse(body, Encoding::Json, &Limits::STANDARD).unwrap();
    /// let span = draft.complete(&arrival, &Limits::STANDARD).unwrap();
    /// assert_eq!((span.owner_id.as_str(), span.at), ("alice", received_at));
    /// ```
    pub fn complete(mut self, arrival: &Arrival<'_>, limits: &Limits) -> Result<Span, Refusal> {
        self.check_address(arrival)?;
        self.check_signature_shape()?;
        let (at_given, trace_given) = (self.at.is_some(), self.trace_id.is_some());
        let id = *self.id.get_or_insert(arrival.id);
        self.at.get_or_insert(arrival.received_at);
        self.trace_id
            .get_or_insert_with(|| arrival.trace_id.unwrap_or(TraceId::of(id)));
        self.tenant_id.get_or_insert_with(|| arrival.tenant.clone());
        self.owner_id
            .get_or_insert_with(|| arrival.principal.clone());
        if self.entity_type.is_none() {
            self.entity_type = arrival.entity_type.cloned();
        }
        self.check_required()?;
        self.check_bounds()?;
        if !arrival.principal.is_system() {
            self.check_unreserved()?;
        }
        if self
            .at
            .is_some_and(|at| at > arrival.received_at.saturating_add(limits.future_max))
        {
            let detail = format!(
                "at lies more than {} seconds in the future",
                limits.future_max.as_secs()
            );
            return Err(Refusal::new(Code::AtInFuture, detail).at("/at"));
        }
        self.check_size(limits)?;
        self.check_signature()?;
        Ok(Span {
            at_given,
            trace_given,
            ..self.into_span()?
        })
    }

    /// Refuses what only the system may write, whoever publishes it: types, names and keys.
    pub fn check_unreserved(&self) -> Result<(), Refusal> {
        if self
            .entity_type
            .as_ref()
            .is_some_and(reserved::is_reserved_type)
        {
            return Err(Refusal::new(
                Code::ReservedType,
                "only the system writes spans of this type",
            )
            .at("/entity_type"));
        }
        if self.who.as_deref().is_some_and(reserved::is_reserved_name) {
            let detail =
                "names beginning with edge:, bootstrap:, policy: and function: are the system's";
            return Err(Refusal::new(Code::ReservedName, detail).at("/who"));
        }
        if self
            .idempotency_key
            .as_deref()
            .is_some_and(|key| key.starts_with(reserved::KEY_PREFIX))
        {
            return Err(Refusal::new(
                Code::ReservedKey,
                "keys beginning with edge: are the system's",
            )
            .at("/idempotency_key"));
        }
        Ok(())
    }

    /// Required fields (SPAN-1).
    pub(crate) fn check_required(&self) -> Result<(), Refusal> {
        let empty = |text: &Option<String>| text.as_ref().is_none_or(String::is_empty);
        let missing: Vec<_> = [
            ("entity_type", self.entity_type.is_none()),
            ("who", empty(&self.who)),
            ("this", empty(&self.this)),
        ]
        .into_iter()
        .filter_map(|(name, is_missing)| is_missing.then_some(name))
        .collect();
        match missing.first() {
            None => Ok(()),
            Some(first) => {
                let detail = format!("required, and absent or empty: {}", missing.join(", "));
                Err(Refusal::new(Code::MissingField, detail).at(format!("/{first}")))
            }
        }
    }

    /// Bounds of every field by itself (SPAN-2); a draft that was built in memory passes here for the first time.
    pub(crate) fn check_bounds(&self) -> Result<(), Refusal> {
        for (pointer, text, chars_max) in [
            ("/who", &self.who, TEXT_CHARS_MAX),
            ("/did", &self.did, TEXT_CHARS_MAX),
            ("/this", &self.this, usize::MAX),
            ("/name", &self.name, TEXT_CHARS_MAX),
            ("/description", &self.description, usize::MAX),
            ("/code", &self.code, usize::MAX),
            ("/language", &self.language, TEXT_CHARS_MAX),
            ("/runtime", &self.runtime, TEXT_CHARS_MAX),
            ("/idempotency_key", &self.idempotency_key, TEXT_CHARS_MAX),
        ] {
            let Some(text) = text else { continue };
            if text.len() > chars_max && text.chars().count() > chars_max {
                let detail = format!("must be at most {chars_max} characters");
                return Err(Refusal::new(Code::TooLong, detail).at(pointer));
            }
            if text.contains('\0') {
                return Err(
                    Refusal::new(Code::NulCharacter, "text must not contain U+0000").at(pointer),
                );
            }
        }
        if self.idempotency_key.as_ref().is_some_and(String::is_empty) {
            return Err(Refusal::new(Code::OutOfRange, "must not be empty").at("/idempotency_key"));
        }
        if self.related_to.len() > RELATED_MAX {
            let detail = format!("must hold at most {RELATED_MAX} ids");
            return Err(Refusal::new(Code::TooLong, detail).at("/related_to"));
        }
        if self
            .duration_ms
            .is_some_and(|duration| duration > Seq::MAX.get())
        {
            let detail = format!("must be from 0 to {}", Seq::MAX);
            return Err(Refusal::new(Code::OutOfRange, detail).at("/duration_ms"));
        }
        Ok(())
    }

    /// The address is the identity (BUS-1).
    fn check_address(&self, arrival: &Arrival<'_>) -> Result<(), Refusal> {
        let is_system = arrival.principal.is_system();
        if is_system && !reserved::is_known_principal(arrival.principal) {
            let detail = "principals beginning with edge: and bootstrap: are the system's, which has none of this name";
            return Err(Refusal::new(Code::ReservedPrincipal, detail));
        }
        if self
            .tenant_id
            .as_ref()
            .is_some_and(|tenant| tenant != arrival.tenant)
        {
            let detail = "tenant_id must be the tenant of the address or token";
            return Err(Refusal::new(Code::TenantMismatch, detail).at("/tenant_id"));
        }
        if !is_system
            && self
                .owner_id
                .as_ref()
                .is_some_and(|owner| owner != arrival.principal)
        {
            let detail = "owner_id must be the principal of the address or token";
            return Err(Refusal::new(Code::OwnerMismatch, detail).at("/owner_id"));
        }
        match (&self.entity_type, arrival.entity_type) {
            (Some(body), Some(address)) if body != address => {
                let detail = "entity_type must be the type of the address";
                Err(Refusal::new(Code::TypeMismatch, detail).at("/entity_type"))
            }
            (_, _) => Ok(()),
        }
    }

    /// Signature and key come together, and nothing is left to fill in (SPAN-7, SPAN-9).
    pub(crate) fn check_signature_shape(&self) -> Result<(), Refusal> {
        match (self.signature, self.public_key) {
            (None, None) => Ok(()),
            (None, Some(_)) => Err(Refusal::new(
                Code::KeyWithoutSignature,
                "public_key without a signature",
            )
            .at("/public_key")),
            (Some(_), None) => Err(Refusal::new(
                Code::SignatureWithoutKey,
                "a signature needs the public_key",
            )
            .at("/public_key")),
            (Some(_), Some(_)) => self.check_nothing_to_fill_in(),
        }
    }

    pub(crate) fn check_nothing_to_fill_in(&self) -> Result<(), Refusal> {
        let missing = [
            ("/id", self.id.is_none()),
            ("/entity_type", self.entity_type.is_none()),
            ("/at", self.at.is_none()),
            ("/trace_id", self.trace_id.is_none()),
            ("/tenant_id", self.tenant_id.is_none()),
            ("/owner_id", self.owner_id.is_none()),
        ]
        .into_iter()
        .find_map(|(pointer, is_missing)| is_missing.then_some(pointer));
        match (missing, self.loose) {
            (None, None) => Ok(()),
            (Some(pointer), _) => Err(Refusal::new(
                Code::SignatureIncomplete,
                "a signed span names this field itself",
            )
            .at(pointer)),
            (None, Some(pointer)) => {
                let detail = "a signed span writes this field in its canonical form";
                Err(Refusal::new(Code::SignatureIncomplete, detail).at(pointer))
            }
        }
    }

    /// The signature verifies (SPAN-9). Nothing may have been filled in since the author signed but what a signed
    /// draft must name.
    pub(crate) fn check_signature(&self) -> Result<(), Refusal> {
        let (Some(signature), Some(key)) = (&self.signature, &self.public_key) else {
            return Ok(());
        };
        if signature::verify_content(key, &self.content_hash(), signature) {
            Ok(())
        } else {
            let detail = "the signature does not verify over this content with public_key";
            Err(Refusal::new(Code::SignatureInvalid, detail).at("/signature"))
        }
    }

    /// The canonical bytes fit (SPAN-2). Nearly every span is small enough to be seen so without writing them.
    pub(crate) fn check_size(&self, limits: &Limits) -> Result<(), Refusal> {
        let texts = [
            &self.who,
            &self.did,
            &self.this,
            &self.name,
            &self.description,
            &self.code,
            &self.language,
            &self.runtime,
            &self.idempotency_key,
        ];
        let jsons = [
            &self.input,
            &self.output,
            &self.error,
            &self.content,
            &self.metadata,
        ];
        let text_bytes: usize = texts.into_iter().flatten().map(String::len).sum();
        let json_bytes: usize = jsons
            .into_iter()
            .flatten()
            .map(|json| json.as_str().len())
            .sum();
        let owner_bytes = self
            .owner_id
            .as_ref()
            .map_or(0, |owner| owner.as_str().len());
        let at_most = (text_bytes + owner_bytes) * ESCAPE_GROWTH_MAX
            + json_bytes
            + self.related_to.len() * ID_BYTES
            + FIXED_BYTES_MAX;
        if at_most <= limits.canonical_bytes_max {
            return Ok(());
        }
        let mut bytes = Vec::with_capacity(at_most.min(limits.canonical_bytes_max * 2));
        self.canonical(&mut bytes);
        if bytes.len() <= limits.canonical_bytes_max {
            return Ok(());
        }
        let detail = format!(
            "the canonical form takes more than {} bytes",
            limits.canonical_bytes_max
        );
        Err(Refusal::new(Code::TooLarge, detail))
    }

    /// The span, where everything that it must have is there.
    pub(crate) fn into_span(self) -> Result<Span, Refusal> {
        self.check_required()?;
        Ok(Span {
            id: present(self.id, "/id")?,
            seq: self.seq.unwrap_or_default(),
            entity_type: present(self.entity_type, "/entity_type")?,
            who: present(self.who, "/who")?,
            did: self.did,
            this: present(self.this, "/this")?,
            at: present(self.at, "/at")?,
            parent_id: self.parent_id,
            related_to: self.related_to,
            caused_by: self.caused_by,
            trace_id: present(self.trace_id, "/trace_id")?,
            owner_id: present(self.owner_id, "/owner_id")?,
            tenant_id: present(self.tenant_id, "/tenant_id")?,
            visibility: self.visibility.unwrap_or_default(),
            status: self.status,
            is_deleted: self.is_deleted.unwrap_or_default(),
            name: self.name,
            description: self.description,
            code: self.code,
            language: self.language,
            runtime: self.runtime,
            input: self.input,
            output: self.output,
            error: self.error,
            content: self.content,
            metadata: self.metadata,
            duration_ms: self.duration_ms,
            idempotency_key: self.idempotency_key,
            signature: self.signature,
            public_key: self.public_key,
            at_given: true,
            trace_given: true,
        })
    }
}

fn present<T>(field: Option<T>, pointer: &'static str) -> Result<T, Refusal> {
    field.ok_or_else(|| Refusal::new(Code::MissingField, "required, and absent").at(pointer))
}
