//! The public keys of those who sign tokens, by `kid`.

use std::{
    collections::HashMap,
    io,
    path::Path,
    sync::{Arc, PoisonError, RwLock},
    time::Duration,
};

use jsonwebtoken::{
    Algorithm, DecodingKey,
    jwk::{AlgorithmParameters, EllipticCurve, Jwk, KeyAlgorithm, PublicKeyUse},
};
use logline_span::reserved;
use tokio::{sync::Mutex, time::Instant};
use ureq::{Agent, http::Uri};

use crate::config::{ConfigError, Issuer, Source, Tenants};

/// Longest `kid`: it is looked up, never opened or run.
pub(crate) const KID_BYTES_MAX: usize = 256;

/// Largest set of keys, in bytes and in keys: an identity provider has a handful.
const SET_BYTES_MAX: u64 = 256 << 10;
const SET_KEYS_MAX: usize = 100;

/// How long an identity provider may take to answer.
const FETCH_TIMEOUT: Duration = Duration::from_secs(5);

/// The least time between two readings of a set: what names unknown keys must not become a flood at the provider.
const REFRESH_MIN: Duration = Duration::from_secs(60);

/// A set is read again after this long, so that a key which its provider gave up ends here too.
const AGE_MAX: Duration = Duration::from_secs(600);

/// A key with the one algorithm that it verifies.
#[derive(Clone)]
pub(crate) struct VerifyingKey {
    pub(crate) algorithm: Algorithm,
    pub(crate) key: DecodingKey,
}

type Keys = HashMap<String, VerifyingKey>;

/// One who signs tokens, with the keys known of it.
pub(crate) struct KnownIssuer {
    pub(crate) name: Option<String>,
    pub(crate) tenants: Tenants,
    set: Option<KeySet>,
    keys: RwLock<Arc<Keys>>,
}

/// Keys that are read again.
struct KeySet {
    source: Source,
    /// The last attempt to read it; held while one is made.
    last: Mutex<Option<Attempt>>,
}

#[derive(Clone, Copy)]
struct Attempt {
    at: Instant,
    has_failed: bool,
}

impl KnownIssuer {
    pub(crate) fn new(issuer: Issuer) -> Result<Self, ConfigError> {
        let Issuer {
            name,
            tenants,
            source,
        } = issuer;
        if let Tenants::Listed(tenants) = &tenants {
            if tenants.is_empty() {
                return Err(ConfigError::NoTenant);
            }
            if tenants.iter().any(|it| it.as_str() == reserved::TENANT) {
                return Err(ConfigError::SystemTenant);
            }
        }
        let (keys, last) = match &source {
            Source::Key(key) => {
                let verifying = VerifyingKey {
                    algorithm: Algorithm::EdDSA,
                    key: DecodingKey::from_ed_der(key.as_bytes()),
                };
                (Keys::from([(key.to_string(), verifying)]), None)
            }
            Source::File(path) => {
                let keys = read_file(path).map_err(|source| ConfigError::File {
                    path: path.clone(),
                    source,
                })?;
                let read = Attempt {
                    at: Instant::now(),
                    has_failed: false,
                };
                (keys, Some(read))
            }
            Source::Url(url) => {
                if !is_trustworthy(url) {
                    return Err(ConfigError::Url(url.clone()));
                }
                (Keys::new(), None)
            }
        };
        let set = (!matches!(source, Source::Key(_))).then(|| KeySet {
            source,
            last: Mutex::new(last),
        });
        Ok(Self {
            name,
            tenants,
            set,
            keys: RwLock::new(Arc::new(keys)),
        })
    }

    /// The key with that `kid`, of a set that is not too old.
    pub(crate) async fn find(&self, kid: &str) -> Option<VerifyingKey> {
        self.refresh(AGE_MAX).await;
        self.known(kid)
    }

    /// The key with that `kid`, where reading the set again brings it.
    pub(crate) async fn find_again(&self, kid: &str) -> Option<VerifyingKey> {
        self.refresh(REFRESH_MIN).await;
        self.known(kid)
    }

    fn known(&self, kid: &str) -> Option<VerifyingKey> {
        let keys = self.keys.read().unwrap_or_else(PoisonError::into_inner);
        keys.get(kid).cloned()
    }

    /// Reads the set again where the last time lies further back than `age`. One reads and the others wait for it; where it
    /// fails, the keys stay as they are, and a whole minute passes before the next attempt.
    async fn refresh(&self, age: Duration) {
        let Some(set) = &self.set else { return };
        let mut last = set.last.lock().await;
        let is_fresh = |last: Attempt| {
            let age = if last.has_failed { REFRESH_MIN } else { age };
            last.at.elapsed() < age
        };
        if last.is_some_and(is_fresh) {
            return;
        }
        let read = match &set.source {
            Source::Key(_) => return,
            Source::File(path) => {
                let path = path.clone();
                tokio::task::spawn_blocking(move || read_file(&path)).await
            }
            Source::Url(url) => {
                let url = url.clone();
                tokio::task::spawn_blocking(move || fetch(&url)).await
            }
        };
        let read = read.unwrap_or_else(|error| Err(io::Error::other(error)));
        *last = Some(Attempt {
            at: Instant::now(),
            has_failed: read.is_err(),
        });
        match read {
            Ok(keys) => {
                *self.keys.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(keys);
            }
            Err(error) => {
                tracing::warn!(%error, "the keys of an issuer cannot be read; those known stay");
            }
        }
    }
}

/// Keys over a connection that nobody in between can change.
fn is_trustworthy(url: &str) -> bool {
    let Ok(uri) = url.parse::<Uri>() else {
        return false;
    };
    match (uri.scheme_str(), uri.host()) {
        (Some("https"), Some(_)) => true,
        (Some("http"), Some(host)) => is_loopback(host),
        _ => false,
    }
}

fn is_loopback(host: &str) -> bool {
    let host = host.trim_matches(['[', ']']);
    host.parse()
        .is_ok_and(|address: std::net::IpAddr| address.is_loopback())
}

fn fetch(url: &str) -> io::Result<Keys> {
    let is_local = url
        .parse::<Uri>()
        .ok()
        .and_then(|uri| uri.host().map(is_loopback))
        .unwrap_or_default();
    let config = Agent::config_builder()
        .timeout_global(Some(FETCH_TIMEOUT))
        .max_redirects(0);
    let config = if is_local { config.proxy(None) } else { config };
    let agent: Agent = config.build().into();
    let mut response = agent.get(url).call().map_err(io::Error::other)?;
    let body = response.body_mut().with_config().limit(SET_BYTES_MAX);
    parse(&body.read_to_string().map_err(io::Error::other)?)
}

fn read_file(path: &Path) -> io::Result<Keys> {
    parse(&std::fs::read_to_string(path)?)
}

/// The keys of a set that verify what is taken here; all others are passed over.
fn parse(text: &str) -> io::Result<Keys> {
    #[derive(serde::Deserialize)]
    struct Set {
        keys: Vec<serde_json::Value>,
    }
    let set: Set = serde_json::from_str(text)?;
    if set.keys.len() > SET_KEYS_MAX {
        return Err(io::Error::other("a set holds too many keys"));
    }
    Ok(set.keys.into_iter().filter_map(verifying).collect())
}

fn verifying(value: serde_json::Value) -> Option<(String, VerifyingKey)> {
    let jwk: Jwk = serde_json::from_value(value).ok()?;
    let kid = jwk.common.key_id.clone()?;
    let is_for_signing = matches!(
        jwk.common.public_key_use,
        None | Some(PublicKeyUse::Signature)
    );
    let algorithm = match (&jwk.algorithm, jwk.common.key_algorithm) {
        (AlgorithmParameters::RSA(_), None | Some(KeyAlgorithm::RS256)) => Algorithm::RS256,
        (AlgorithmParameters::OctetKeyPair(pair), None | Some(KeyAlgorithm::EdDSA))
            if pair.curve == EllipticCurve::Ed25519 =>
        {
            Algorithm::EdDSA
        }
        _ => return None,
    };
    if !is_for_signing || kid.len() > KID_BYTES_MAX {
        return None;
    }
    let key = DecodingKey::from_jwk(&jwk).ok()?;
    Some((kid, VerifyingKey { algorithm, key }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_a_set_only_the_keys_that_verify_our_algorithms_are_taken() {
        let x = "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo";
        let text = serde_json::json!({"keys": [
            {"kty": "OKP", "crv": "Ed25519", "kid": "good", "x": x},
            {"kty": "OKP", "crv": "Ed25519", "x": x},
            {"kty": "OKP", "crv": "Ed25519", "kid": "for encryption", "use": "enc", "x": x},
            {"kty": "OKP", "crv": "Ed25519", "kid": "other algorithm", "alg": "RS256", "x": x},
            {"kty": "oct", "kid": "shared", "alg": "HS256", "k": "c2VjcmV0"},
            {"kty": "EC", "crv": "P-256", "kid": "curve", "x": x, "y": x},
            {"kty": "RSA", "kid": "rsa", "n": x, "e": "AQAB"},
            {"kty": "RSA", "kid": "rsa, other padding", "alg": "PS256", "n": x, "e": "AQAB"},
            {"kty": "new", "kid": "unknown"},
            "no key"
        ]});
        let mut kids: Vec<String> = parse(&text.to_string()).unwrap().into_keys().collect();
        kids.sort();
        assert_eq!(kids, ["good", "rsa"]);
        assert!(parse(r#"{"keys": 1}"#).is_err());
    }

    #[test]
    fn keys_come_by_https_or_from_this_machine() {
        for good in [
            "https://idp.example/jwks",
            "http://127.0.0.1:9/jwks",
            "http://[::1]/jwks",
        ] {
            assert!(is_trustworthy(good), "{good}");
        }
        for bad in [
            "http://idp.example/jwks",
            "http://localhost.example/",
            "file:///etc/keys",
            "/etc/keys",
            "",
        ] {
            assert!(!is_trustworthy(bad), "{bad}");
        }
    }
}
