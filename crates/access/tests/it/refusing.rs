use logline_access::Refused;
use logline_span::SigningKey;
use ring::hmac;
use serde_json::{Value, json};

use crate::forge::{
    acme, b64, both, by_key, claims, config, globex, header, message, now, refused, rsa_token,
    signed, tenants, token, verifier, with, without,
};

/// Whether a token was refused for the right reason.
type Is = fn(&Refused) -> bool;

async fn verdict(token: &str) -> Refused {
    refused(both().verify(token).await)
}

#[tokio::test]
async fn a_token_without_a_signature_is_nothing() {
    for alg in ["none", "None", "NONE", "nOnE", ""] {
        let header = with(header(&acme()), "alg", json!(alg));
        let bare = message(&header, &claims());
        for token in [format!("{bare}."), bare.clone(), format!("{bare}.AA")] {
            let refused = verdict(&token).await;
            assert!(
                matches!(refused, Refused::Algorithm | Refused::Malformed),
                "{alg}: {refused}"
            );
        }
    }
    // The right algorithm, and nothing after it.
    let bare = message(&header(&acme()), &claims());
    assert!(matches!(
        verdict(&format!("{bare}.")).await,
        Refused::Signature
    ));
}

#[tokio::test]
async fn a_public_key_is_no_shared_secret() {
    let public = acme().public_key();
    let secrets = [public.as_bytes().to_vec(), public.to_string().into_bytes()];
    for (alg, by) in [("HS256", hmac::HMAC_SHA256), ("HS512", hmac::HMAC_SHA512)] {
        for secret in &secrets {
            let header = with(header(&acme()), "alg", json!(alg));
            let message = message(&header, &claims());
            let tag = hmac::sign(&hmac::Key::new(by, secret), message.as_bytes());
            let token = format!("{message}.{}", b64(tag));
            assert!(matches!(verdict(&token).await, Refused::Algorithm));
        }
    }
    // The algorithm of another kind of key under this key's name.
    let token = rsa_token(&public.to_string(), &claims());
    assert!(matches!(verdict(&token).await, Refused::Algorithm));
}

#[tokio::test]
async fn a_token_is_for_us_now_and_says_whose_it_is() {
    let hour = 3600;
    let cases: [(Value, Is); 16] = [
        (with(claims(), "aud", json!("another")), |it| {
            matches!(it, Refused::Audience)
        }),
        (
            with(claims(), "aud", json!(["another", "logline2"])),
            |it| matches!(it, Refused::Audience),
        ),
        (with(claims(), "aud", json!([])), |it| {
            matches!(it, Refused::Audience)
        }),
        (with(claims(), "aud", json!({"logline": 1})), |it| {
            matches!(it, Refused::Claims)
        }),
        (without(claims(), "aud"), |it| matches!(it, Refused::Claims)),
        (without(claims(), "exp"), |it| matches!(it, Refused::Claims)),
        (with(claims(), "exp", json!("2099-01-01")), |it| {
            matches!(it, Refused::Claims)
        }),
        (with(claims(), "exp", json!(now() - hour)), |it| {
            matches!(it, Refused::Expired)
        }),
        (with(claims(), "exp", json!(-1)), |it| {
            matches!(it, Refused::Claims | Refused::Expired)
        }),
        (with(claims(), "nbf", json!(now() + hour)), |it| {
            matches!(it, Refused::NotYet)
        }),
        (with(claims(), "nbf", json!("later")), |it| {
            matches!(it, Refused::Claims)
        }),
        (without(claims(), "sub"), |it| matches!(it, Refused::Claims)),
        (with(claims(), "sub", json!("")), |it| {
            matches!(it, Refused::Claims)
        }),
        (with(claims(), "sub", json!("Alice")), |it| {
            matches!(it, Refused::Claims)
        }),
        (with(claims(), "sub", json!(["alice"])), |it| {
            matches!(it, Refused::Claims)
        }),
        (with(claims(), "tenant", json!("ACME")), |it| {
            matches!(it, Refused::Claims)
        }),
    ];
    for (claims, is_right) in cases {
        let refused = verdict(&token(&acme(), &claims)).await;
        assert!(is_right(&refused), "{claims}: {refused}");
    }
}

#[tokio::test]
async fn an_issuer_speaks_for_its_own_tenants_alone() {
    let of = |tenant: &str| with(claims(), "tenant", json!(tenant));
    for (key, tenant) in [(acme(), "globex"), (acme(), "initech"), (globex(), "acme")] {
        let refused = verdict(&token(&key, &of(tenant))).await;
        assert!(matches!(refused, Refused::Tenant), "{tenant}: {refused}");
    }
    assert!(
        both()
            .verify(&token(&globex(), &of("initech")))
            .await
            .is_ok()
    );
    // One of two tenants is not guessed.
    let refused = verdict(&token(&globex(), &without(claims(), "tenant"))).await;
    assert!(matches!(refused, Refused::Claims));
}

#[tokio::test]
async fn nobody_can_issue_the_system() {
    for name in ["edge:worker", "edge:anything", "bootstrap:seed"] {
        let claims = with(claims(), "sub", json!(name));
        let refused = verdict(&token(&acme(), &claims)).await;
        assert!(matches!(refused, Refused::System), "{name}: {refused}");
    }
    let claims = with(claims(), "tenant", json!("system"));
    assert!(matches!(
        verdict(&token(&acme(), &claims)).await,
        Refused::System
    ));
}

#[tokio::test]
async fn a_kid_is_looked_up_and_nothing_else() {
    let stranger = SigningKey::from_seed(&[9; 32]);
    let kids = [
        json!("../../etc/passwd"),
        json!("https://evil.example/jwks"),
        json!("' or '1'='1"),
        json!("a".repeat(100_000 / 20)),
        json!(""),
        json!("\u{0}"),
    ];
    for kid in kids {
        let header = with(header(&acme()), "kid", kid);
        let refused = verdict(&signed(&acme(), &header, &claims())).await;
        assert!(
            matches!(refused, Refused::Signature | Refused::TooLong),
            "{refused}"
        );
    }
    let bare = without(header(&acme()), "kid");
    assert!(matches!(
        verdict(&signed(&acme(), &bare, &claims())).await,
        Refused::Signature
    ));
    // Another's kid, and keys that the token brings along.
    let jwk = json!({"kty": "OKP", "crv": "Ed25519", "x": b64(stranger.public_key().as_bytes())});
    for header in [
        header(&acme()),
        with(header(&acme()), "jwk", jwk),
        with(header(&acme()), "jku", json!("https://evil.example/jwks")),
        with(header(&acme()), "x5u", json!("https://evil.example/cert")),
    ] {
        let refused = verdict(&signed(&stranger, &header, &claims())).await;
        assert!(matches!(refused, Refused::Signature), "{header}: {refused}");
    }
}

#[tokio::test]
async fn a_name_that_two_issuers_use_is_no_door() {
    // The second issuer names its key like the first one's.
    let set = json!({"keys": [crate::forge::ed_jwk(&acme().public_key().to_string(), &globex())]});
    let file = tempfile(&set.to_string());
    let mut second = by_key(&globex(), tenants(["globex"]));
    second.source = logline_access::Source::File(file.clone());
    for issuers in [
        vec![by_key(&acme(), tenants(["acme"])), second.clone()],
        vec![second.clone(), by_key(&acme(), tenants(["acme"]))],
    ] {
        let verifier = verifier(config(issuers));
        let header = header(&acme());
        let of = |tenant: &str| with(claims(), "tenant", json!(tenant));
        assert!(
            verifier
                .verify(&signed(&acme(), &header, &of("acme")))
                .await
                .is_ok()
        );
        assert!(
            verifier
                .verify(&signed(&globex(), &header, &of("globex")))
                .await
                .is_ok()
        );
        let verdict = verifier
            .verify(&signed(&globex(), &header, &of("acme")))
            .await;
        assert!(matches!(refused(verdict), Refused::Tenant));
    }
}

#[tokio::test]
async fn what_is_critical_and_not_understood_is_refused() {
    let header = with(header(&acme()), "crit", json!(["exp"]));
    assert!(matches!(
        verdict(&signed(&acme(), &header, &claims())).await,
        Refused::Extension
    ));
}

#[tokio::test]
async fn a_token_that_was_touched_is_not_the_one_that_was_signed() {
    let good = token(&acme(), &claims());
    let [head, body, signature] = good.split('.').collect::<Vec<_>>()[..] else {
        panic!("{good}");
    };
    let other = b64(with(claims(), "sub", json!("bob")).to_string());
    let mut flipped = signature.to_owned();
    flipped.replace_range(0..1, if signature.starts_with('A') { "B" } else { "A" });
    for touched in [
        format!("{head}.{other}.{signature}"),
        format!("{head}.{body}.{flipped}"),
        format!("{head}.{body}.{signature}AAAA"),
        format!("{head}.{body}.{}", b64([0; 64])),
    ] {
        let refused = verdict(&touched).await;
        assert!(
            matches!(refused, Refused::Signature),
            "{touched}: {refused}"
        );
    }
}

#[tokio::test]
async fn what_is_no_token_at_all_costs_little_and_breaks_nothing() {
    let long = token(&acme(), &with(claims(), "pad", json!("x".repeat(9000))));
    assert!(matches!(verdict(&long).await, Refused::TooLong));
    let roles: Vec<String> = (0..65).map(|nth| format!("r{nth}")).collect();
    let many = token(&acme(), &with(claims(), "roles", json!(roles)));
    assert!(matches!(verdict(&many).await, Refused::Claims));
    for junk in [
        "", ".", "..", "...", "a.b.c", "é.é.é", "eyJ", "Bearer x", "\u{0}",
    ] {
        let refused = verdict(junk).await;
        assert!(
            matches!(refused, Refused::Malformed | Refused::Algorithm),
            "{junk:?}: {refused}"
        );
    }
    // The same claim twice: which of both counts must not depend on who reads.
    let twice = r#"{"sub":"bob","sub":"alice","tenant":"acme","aud":"logline","exp":9999999999}"#;
    let message = format!("{}.{}", b64(header(&acme()).to_string()), b64(twice));
    let signature = acme().sign_message(message.as_bytes());
    let token = format!("{message}.{}", b64(signature.as_bytes()));
    assert!(matches!(verdict(&token).await, Refused::Claims));
}

#[tokio::test]
async fn the_issuers_own_name_is_checked_where_it_is_configured() {
    let mut issuer = by_key(&acme(), tenants(["acme"]));
    issuer.name = Some("https://idp.example".to_owned());
    let verifier = verifier(config(vec![issuer]));
    let named = |iss: &str| token(&acme(), &with(claims(), "iss", json!(iss)));
    assert!(verifier.verify(&named("https://idp.example")).await.is_ok());
    let verdict = verifier.verify(&named("https://idp.example.evil")).await;
    assert!(matches!(refused(verdict), Refused::Issuer));
    let verdict = verifier.verify(&token(&acme(), &claims())).await;
    assert!(matches!(refused(verdict), Refused::Claims));
}

/// A file that lives as long as the test process.
fn tempfile(text: &str) -> std::path::PathBuf {
    let file = std::env::temp_dir().join(format!("logline-jwks-{}", std::process::id()));
    std::fs::write(&file, text).unwrap();
    file
}
