use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use logline_access::{ConfigError, Issuer, Refused, Source, Verifier};
use logline_span::SigningKey;
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
    task::JoinSet,
};

use crate::forge::{
    acme, claims, config, ed_jwk, globex, nowhere, refused, rsa_jwk, rsa_token, signed, tenants,
    verifier, with,
};

fn by_kid(kid: &str, key: &SigningKey) -> String {
    let header = json!({"alg": "EdDSA", "kid": kid});
    signed(key, &header, &claims())
}

/// An identity provider that serves one set and counts how often it is asked.
struct Provider {
    url: String,
    answer: Arc<Mutex<String>>,
    asked: Arc<AtomicUsize>,
    _serving: JoinSet<()>,
}

impl Provider {
    async fn start(set: &Value) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/jwks", listener.local_addr().unwrap());
        let answer = Arc::new(Mutex::new(String::new()));
        let asked = Arc::new(AtomicUsize::new(0));
        let mut serving = JoinSet::new();
        let (text, count) = (Arc::clone(&answer), Arc::clone(&asked));
        serving.spawn(async move {
            loop {
                let (mut stream, _) = listener.accept().await.unwrap();
                let mut request = [0; 4096];
                let _ = stream.read(&mut request).await;
                count.fetch_add(1, Ordering::SeqCst);
                let answer = text.lock().unwrap().clone();
                let _ = stream.write_all(answer.as_bytes()).await;
            }
        });
        let provider = Self {
            url,
            answer,
            asked,
            _serving: serving,
        };
        provider.serve(set.to_string());
        provider
    }

    fn serve(&self, body: String) {
        *self.answer.lock().unwrap() = format!(
            "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}",
            body.len()
        );
    }

    fn verifier(&self) -> Verifier {
        verifier(config(vec![Issuer {
            name: None,
            tenants: tenants(["acme"]),
            source: Source::Url(self.url.clone()),
        }]))
    }

    fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }
}

#[tokio::test]
async fn both_algorithms_are_taken_from_a_set_at_an_address() {
    let provider =
        Provider::start(&json!({"keys": [ed_jwk("one", &acme()), rsa_jwk("two")]})).await;
    let verifier = provider.verifier();
    assert!(verifier.verify(&by_kid("one", &acme())).await.is_ok());
    assert!(verifier.verify(&rsa_token("two", &claims())).await.is_ok());
    assert_eq!(provider.asked(), 1, "once for both");
    // The RSA signature covers what is said.
    let touched = rsa_token("two", &claims()).replacen('.', ".e", 1);
    assert!(verifier.verify(&touched).await.is_err());
    let verdict = verifier.verify(&by_kid("two", &acme())).await;
    assert!(matches!(refused(verdict), Refused::Algorithm));
}

#[tokio::test]
async fn unknown_names_of_keys_do_not_become_a_flood_at_the_provider() {
    let provider = Provider::start(&json!({"keys": [ed_jwk("one", &acme())]})).await;
    let verifier = provider.verifier();
    let mut asking = JoinSet::new();
    for nth in 0..50 {
        let (verifier, token) = (verifier.clone(), by_kid(&format!("unknown {nth}"), &acme()));
        asking.spawn(async move { verifier.verify(&token).await.is_ok() });
    }
    while let Some(believed) = asking.join_next().await {
        assert!(!believed.unwrap());
    }
    assert_eq!(provider.asked(), 1);
}

#[tokio::test]
async fn a_key_that_comes_or_goes_is_noticed() {
    let provider = Provider::start(&json!({"keys": [ed_jwk("one", &acme())]})).await;
    let verifier = provider.verifier();
    assert!(verifier.verify(&by_kid("one", &acme())).await.is_ok());
    tokio::time::pause();
    provider.serve(json!({"keys": [ed_jwk("two", &globex())]}).to_string());
    let fresh = by_kid("two", &globex());
    assert!(verifier.verify(&fresh).await.is_err(), "not yet");
    tokio::time::advance(Duration::from_secs(61)).await;
    assert!(verifier.verify(&fresh).await.is_ok());
    assert!(verifier.verify(&by_kid("one", &acme())).await.is_err());
    // A provider that is away takes nothing back.
    provider.serve("no set".to_owned());
    tokio::time::advance(Duration::from_secs(700)).await;
    assert!(verifier.verify(&fresh).await.is_ok());
    assert_eq!(provider.asked(), 3);
    tokio::time::advance(Duration::from_secs(30)).await;
    assert!(verifier.verify(&fresh).await.is_ok());
    assert_eq!(provider.asked(), 3, "not again at once");
    // A key that it gave up ends here too, without anybody asking for another.
    provider.serve(json!({"keys": []}).to_string());
    tokio::time::advance(Duration::from_secs(61)).await;
    assert!(verifier.verify(&fresh).await.is_err());
}

#[tokio::test]
async fn a_set_that_is_too_large_or_elsewhere_is_not_read() {
    let provider = Provider::start(&json!({"keys": []})).await;
    let keys = json!({"keys": [ed_jwk("one", &acme())], "pad": "x".repeat(300 << 10)});
    provider.serve(keys.to_string());
    assert!(
        provider
            .verifier()
            .verify(&by_kid("one", &acme()))
            .await
            .is_err()
    );
    let elsewhere = Provider::start(&json!({"keys": [ed_jwk("one", &acme())]})).await;
    *provider.answer.lock().unwrap() = format!(
        "HTTP/1.1 302 Found\r\nlocation: {}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n",
        elsewhere.url
    );
    assert!(
        provider
            .verifier()
            .verify(&by_kid("one", &acme()))
            .await
            .is_err()
    );
    assert_eq!(elsewhere.asked(), 0);
    let plain = Issuer {
        name: None,
        tenants: tenants(["acme"]),
        source: Source::Url("http://idp.example/jwks".to_owned()),
    };
    let refused = Verifier::new(config(vec![plain]), nowhere());
    assert!(matches!(refused, Err(ConfigError::Url(_))));
}

#[tokio::test]
async fn a_shared_secret_in_a_set_verifies_nothing() {
    let oct = json!({"kty": "oct", "kid": "one", "alg": "HS256", "k": crate::forge::b64([7; 32])});
    let provider = Provider::start(&json!({"keys": [oct]})).await;
    let header = with(json!({"alg": "HS256"}), "kid", json!("one"));
    let message = crate::forge::message(&header, &claims());
    let key = ring::hmac::Key::new(ring::hmac::HMAC_SHA256, &[7; 32]);
    let tag = ring::hmac::sign(&key, message.as_bytes());
    let verdict = provider
        .verifier()
        .verify(&format!("{message}.{}", crate::forge::b64(tag)))
        .await;
    assert!(matches!(refused(verdict), Refused::Algorithm));
}
