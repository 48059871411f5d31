use std::time::Duration;

use logline_access::{ConfigError, FixedKey, Grant, Minter, Refused, RoleTrust, Tenants, Verifier};
use logline_span::Timestamp;
use serde_json::json;

use crate::forge::{
    acme, both, by_key, claims, config, globex, now, nowhere, refused, tenants, token, verifier,
    with, without,
};

#[tokio::test]
async fn a_token_stands_for_its_subject_until_it_ends() {
    let exp = now() + 600;
    let claims = with(claims(), "exp", json!(exp));
    let access = both().verify(&token(&acme(), &claims)).await.unwrap();
    assert_eq!(access.tenant.as_str(), "acme");
    assert_eq!(access.principal.as_str(), "alice");
    assert_eq!(access.named_roles, ["auditor".parse().unwrap()].into());
    let ends = i64::try_from(exp).unwrap() * 1_000_000;
    assert_eq!(access.expires_at, Some(Timestamp::from_micros(ends)));
}

#[tokio::test]
async fn claims_come_in_the_forms_that_identity_providers_write() {
    let verifier = both();
    let forms = [
        with(claims(), "aud", json!(["account", "logline"])),
        with(claims(), "exp", json!(now() as f64 + 600.5)),
        with(claims(), "roles", json!(["auditor", "Default Role"])),
        with(claims(), "email", json!("alice@acme.example")),
        // The one tenant of its issuer.
        without(claims(), "tenant"),
        // Clocks differ a little.
        with(claims(), "exp", json!(now() - 5)),
        with(claims(), "nbf", json!(now() + 5)),
    ];
    for claims in forms {
        let access = verifier.verify(&token(&acme(), &claims)).await;
        assert_eq!(access.unwrap().named_roles.len(), 1, "{claims}");
    }
    assert!(
        verifier
            .verify(&token(&acme(), &without(claims(), "roles")))
            .await
            .unwrap()
            .named_roles
            .is_empty()
    );
}

#[tokio::test]
async fn a_minted_token_is_believed_and_never_stands_for_the_system() {
    let minter = Minter::new(acme(), "logline");
    let grant = |tenant: &str, principal: &str, ttl| Grant {
        tenant: tenant.parse().unwrap(),
        principal: principal.parse().unwrap(),
        roles: ["auditor".parse().unwrap()].into(),
        ttl: Duration::from_secs(ttl),
    };
    let began = Timestamp::from_micros(i64::try_from(now()).unwrap() * 1_000_000);
    let minted = minter.mint(&grant("acme", "alice", 60), began).unwrap();
    let access = both().verify(&minted).await.unwrap();
    assert_eq!(access.principal.as_str(), "alice");
    assert_eq!(
        access.expires_at,
        Some(began.saturating_add(Duration::from_secs(60)))
    );
    for (tenant, principal, ttl) in [
        ("system", "alice", 60),
        ("acme", "edge:worker", 60),
        ("acme", "bootstrap:seed", 60),
        ("acme", "alice", 0),
        ("acme", "alice", u64::MAX),
    ] {
        assert!(
            minter.mint(&grant(tenant, principal, ttl), began).is_err(),
            "{principal} of {tenant} for {ttl} s"
        );
    }
}

#[tokio::test]
async fn a_role_counts_only_where_the_ledger_can_be_asked_unless_the_issuer_is_trusted() {
    let verifier = verifier(logline_access::Config {
        role_trust: RoleTrust::Ledger,
        ..config(vec![by_key(&acme(), tenants(["acme"]))])
    });
    let access = verifier.verify(&token(&acme(), &claims())).await.unwrap();
    assert_eq!(access.principal.as_str(), "alice", "the identity stands");
    assert!(matches!(
        verifier.roles(&access).await,
        Err(Refused::Ledger(_))
    ));
    let access = both().verify(&token(&acme(), &claims())).await.unwrap();
    assert_eq!(both().roles(&access).await.unwrap(), access.named_roles);
}

#[tokio::test]
async fn an_api_key_is_not_guessed_at_while_the_ledger_is_away() {
    let key = logline_access::ApiKey::generate().expose();
    let verdict = both().verify(&key).await;
    assert!(matches!(refused(verdict), Refused::Ledger(_)));
    let verdict = both().verify("llk_no_key").await;
    assert!(matches!(refused(verdict), Refused::UnknownKey));
}

#[tokio::test]
async fn a_key_of_every_tenant_speaks_for_each_but_the_systems() {
    let verifier = verifier(config(vec![by_key(&acme(), Tenants::Every)]));
    let token = |tenant| token(&acme(), &with(claims(), "tenant", json!(tenant)));
    assert!(verifier.verify(&token("globex")).await.is_ok());
    let verdict = verifier.verify(&token("system")).await;
    assert!(matches!(refused(verdict), Refused::System));
}

#[test]
fn what_may_not_be_configured_is_refused_at_the_start() {
    let new = |config| Verifier::new(config, nowhere());
    let key = |tenants| config(vec![by_key(&globex(), tenants)]);
    assert!(matches!(new(key(tenants([]))), Err(ConfigError::NoTenant)));
    assert!(matches!(
        new(key(tenants(["acme", "system"]))),
        Err(ConfigError::SystemTenant)
    ));
    let mut silent = config(Vec::new());
    silent.audience.clear();
    assert!(matches!(new(silent), Err(ConfigError::NoAudience)));
    for (tenant, principal) in [
        ("acme", "edge:worker"),
        ("acme", "bootstrap:seed"),
        ("system", "alice"),
    ] {
        let mut system = config(Vec::new());
        system.fixed_keys = vec![FixedKey::of(
            "t",
            tenant.parse().unwrap(),
            principal.parse().unwrap(),
        )];
        assert!(matches!(new(system), Err(ConfigError::SystemToken { .. })));
    }
}
