//! Makes tokens of any kind, good and bad, without the library that reads them.

use std::time::{Duration, SystemTime};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use logline_access::{Access, Config, Issuer, Refused, RoleTrust, Source, Tenants, Verifier};
use logline_ledger::{self as ledger, IdentityKey, Reader};
use logline_span::SigningKey;
use ring::{rand::SystemRandom, rsa::KeyPair, signature::RSA_PKCS1_SHA256};
use serde_json::{Value, json};

/// The issuer of `acme`.
pub(crate) fn acme() -> SigningKey {
    SigningKey::from_seed(&[1; 32])
}

/// The issuer of `globex` and `initech`.
pub(crate) fn globex() -> SigningKey {
    SigningKey::from_seed(&[2; 32])
}

pub(crate) fn tenants<const N: usize>(names: [&str; N]) -> Tenants {
    Tenants::Listed(names.map(|name| name.parse().unwrap()).to_vec())
}

pub(crate) fn by_key(key: &SigningKey, tenants: Tenants) -> Issuer {
    Issuer {
        name: None,
        tenants,
        source: Source::Key(key.public_key()),
    }
}

pub(crate) fn config(issuers: Vec<Issuer>) -> Config {
    Config {
        audience: "logline".to_owned(),
        issuers,
        fixed_keys: Vec::new(),
        role_trust: RoleTrust::Issuer,
    }
}

/// With a ledger that is away.
pub(crate) fn verifier(config: Config) -> Verifier {
    Verifier::new(config, nowhere()).unwrap()
}

pub(crate) fn nowhere() -> Reader {
    let config = ledger::Config {
        url: "postgres://nobody@127.0.0.1:1/nothing".to_owned(),
        connections_max: 1,
        acquire_timeout: Duration::from_secs(1),
        application_name: "test".to_owned(),
    };
    Reader::connect(&config, IdentityKey::from_bytes([7; 32])).unwrap()
}

/// Both issuers.
pub(crate) fn both() -> Verifier {
    verifier(config(vec![
        by_key(&acme(), tenants(["acme"])),
        by_key(&globex(), tenants(["globex", "initech"])),
    ]))
}

#[expect(clippy::disallowed_methods, reason = "a test forges tokens for now")]
pub(crate) fn now() -> u64 {
    SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap()
        .as_secs()
}

/// What a good token of `acme` says; a test spoils it.
pub(crate) fn claims() -> Value {
    json!({"sub": "alice", "tenant": "acme", "roles": ["auditor"], "aud": "logline", "exp": now() + 600})
}

pub(crate) fn with(mut claims: Value, field: &str, value: Value) -> Value {
    claims[field] = value;
    claims
}

pub(crate) fn without(mut claims: Value, field: &str) -> Value {
    claims.as_object_mut().unwrap().remove(field);
    claims
}

pub(crate) fn header(key: &SigningKey) -> Value {
    json!({"alg": "EdDSA", "typ": "JWT", "kid": key.public_key().to_string()})
}

pub(crate) fn b64(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

pub(crate) fn message(header: &Value, claims: &Value) -> String {
    format!("{}.{}", b64(header.to_string()), b64(claims.to_string()))
}

pub(crate) fn signed(key: &SigningKey, header: &Value, claims: &Value) -> String {
    let message = message(header, claims);
    let signature = key.sign_message(message.as_bytes());
    format!("{message}.{}", b64(signature.as_bytes()))
}

pub(crate) fn token(key: &SigningKey, claims: &Value) -> String {
    signed(key, &header(key), claims)
}

/// A fixed RSA key of 2048 bits, which signs nothing but tests.
pub(crate) fn rsa() -> KeyPair {
    KeyPair::from_der(include_bytes!("rsa.der")).unwrap()
}

pub(crate) fn rsa_jwk(kid: &str) -> Value {
    let public: ring::rsa::PublicKeyComponents<Vec<u8>> = rsa().public().into();
    json!({"kty": "RSA", "kid": kid, "alg": "RS256", "n": b64(public.n), "e": b64(public.e)})
}

pub(crate) fn ed_jwk(kid: &str, key: &SigningKey) -> Value {
    json!({"kty": "OKP", "crv": "Ed25519", "kid": kid, "x": b64(key.public_key().as_bytes())})
}

pub(crate) fn rsa_token(kid: &str, claims: &Value) -> String {
    let message = message(&json!({"alg": "RS256", "kid": kid}), claims);
    let key = rsa();
    let mut signature = vec![0; key.public().modulus_len()];
    key.sign(
        &RSA_PKCS1_SHA256,
        &SystemRandom::new(),
        message.as_bytes(),
        &mut signature,
    )
    .unwrap();
    format!("{message}.{}", b64(signature))
}

#[track_caller]
pub(crate) fn refused(verdict: Result<Access, Refused>) -> Refused {
    match verdict {
        Ok(access) => panic!("believed: {access:?}"),
        Err(refused) => refused,
    }
}
