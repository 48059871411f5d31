//! DEP-3: the configurations of `deploy/nats/`, as they are shipped.

use std::{fs, net::TcpListener, path::Path};

use logline_bus::{Admitted, Bus, Secret, access::Login, issuer};
use logline_span::{Reader, SigningKey};
use logline_testkit::{Nats, deadline};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use tokio_util::sync::CancellationToken;

use crate::support::{SOON, config, ingest, json, nats_cli, nats_cli_at};

const PASSWORD: &str = "test";
const TOKEN: &str = "the token";

/// What a place keeps for its servers: certificates, passwords, the callout's key.
struct Place {
    directory: tempfile::TempDir,
    key: SigningKey,
}

impl Place {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let authority = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let key = KeyPair::generate().unwrap();
        let names = vec!["127.0.0.1".to_owned(), "localhost".to_owned()];
        let certificate = CertificateParams::new(names).unwrap();
        let certificate = certificate.signed_by(&key, &authority).unwrap();
        for (name, text) in [
            ("ca.pem", authority.pem()),
            ("server.pem", certificate.pem()),
            ("server.key", key.serialize_pem()),
        ] {
            fs::write(directory.path().join(name), text).unwrap();
        }
        Self {
            directory,
            key: SigningKey::from_seed(&[9; 32]),
        }
    }

    fn file(&self, name: &str) -> String {
        self.directory.path().join(name).display().to_string()
    }

    /// A shipped file and what it includes, with what it wants of the environment said beforehand.
    fn settings(&self, shipped: &str, more: &[(&str, String)]) -> String {
        let mut text = String::new();
        for login in Login::ALL {
            let name = login.name().to_uppercase();
            text += &format!("LOGLINE_BUS_{name}_PASSWORD: {PASSWORD}\n");
        }
        let files = [
            ("CERT", "server.pem"),
            ("KEY", "server.key"),
            ("CA", "ca.pem"),
        ];
        for (variable, file) in files {
            text += &format!("LOGLINE_BUS_TLS_{variable}: \"{}\"\n", self.file(file));
        }
        text += &format!("LOGLINE_BUS_ISSUER: {}\n", issuer(&self.key).unwrap());
        for (variable, value) in more {
            text += &format!("{variable}: {value}\n");
        }
        text + &whole(shipped)
    }

    async fn login(&self, nats: &Nats, login: Login, replicas: usize) -> Bus {
        let config = logline_bus::Config {
            url: format!("tls://127.0.0.1:{}", nats.port()),
            user_password: Some((login.name().to_owned(), Secret::new(PASSWORD))),
            ca_file: Some(self.file("ca.pem").into()),
            open_inboxes: false,
            replicas,
            ..config(nats)
        };
        Bus::connect(&config).await.unwrap()
    }

    /// Publishes as alice with the stock client and a token, while the callout answers.
    async fn publish(&self, nats: &Nats) -> Result<String, String> {
        let callout = self.login(nats, Login::Callout, 1).await;
        let callout = callout.serve_callout(&self.key).await.unwrap();
        let shutdown = CancellationToken::new();
        let identify = |token: Secret| {
            let reader = Reader {
                tenant: "acme".parse().unwrap(),
                principal: "alice".parse().unwrap(),
            };
            let admitted = (token.expose() == TOKEN).then_some(Admitted {
                reader,
                expires_at: None,
            });
            std::future::ready(admitted)
        };
        let asking = async {
            let server = format!("tls://127.0.0.1:{}", nats.port());
            let arguments = [
                "--tlsca",
                &self.file("ca.pem"),
                "--token",
                TOKEN,
                "--inbox-prefix",
                "receipt.acme.alice",
                "request",
                "ingest.acme.alice.activity",
                "{}",
                "--raw",
            ];
            let answer = nats_cli_at(&server, &arguments).await;
            shutdown.cancel();
            answer
        };
        tokio::join!(callout.run(identify, shutdown.clone()), asking).1
    }
}

/// The text of a shipped file, with that of the files that it includes in their places.
fn whole(shipped: &str) -> String {
    let deploy = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../deploy/nats");
    let text = fs::read_to_string(deploy.join(shipped)).unwrap();
    let lines = text
        .lines()
        .map(|line| match line.strip_prefix("include ./") {
            Some(included) => whole(included),
            None => format!("{line}\n"),
        });
    lines.collect()
}

#[tokio::test]
async fn one_server_takes_parts_by_password_and_clients_by_token_over_tls_alone() {
    let place = Place::new();
    let nats = Nats::start_with(place.settings("server.conf", &[])).await;
    let operator = place.login(&nats, Login::Operator, 1).await;
    assert_eq!(operator.migrate().await.unwrap(), vec![]);
    let answer = deadline(SOON, place.publish(&nats)).await.unwrap();
    assert!(answer.contains(r#""stream":"INGEST""#), "{answer}");
    let plain = [
        "--token",
        TOKEN,
        "request",
        "ingest.acme.alice.activity",
        "{}",
    ];
    let refused = nats_cli(&nats, &plain).await.unwrap_err();
    assert!(
        refused.to_lowercase().contains("tls") || refused.contains("x509"),
        "{refused}"
    );
}

/// A message that three servers have acknowledged is there when one of them is gone.
#[tokio::test]
async fn three_servers_go_on_without_one() {
    let place = Place::new();
    let ports: Vec<u16> = (0..3)
        .map(|_| TcpListener::bind("127.0.0.1:0").unwrap())
        .collect::<Vec<_>>()
        .iter()
        .map(|free| free.local_addr().unwrap().port())
        .collect();
    let routes: Vec<_> = ports
        .iter()
        .map(|port| format!("nats://127.0.0.1:{port}"))
        .collect();
    let start = async |n: usize| {
        let more = [
            ("LOGLINE_BUS_CLUSTER", format!("127.0.0.1:{}", ports[n])),
            ("LOGLINE_BUS_ROUTES", format!("[{}]", routes.join(", "))),
        ];
        Nats::start_named(&format!("node-{n}"), place.settings("cluster.conf", &more)).await
    };
    let nodes = deadline(SOON, async {
        [start(0).await, start(1).await, start(2).await]
    })
    .await;
    let operator = place.login(&nodes[0], Login::Operator, 3).await;
    // A cluster takes a moment to choose who leads it.
    let differences = deadline(SOON, async {
        loop {
            if let Ok(differences) = operator.migrate().await {
                return differences;
            }
        }
    });
    assert_eq!(differences.await, vec![]);
    let subject = ingest("acme", "alice", "activity");
    operator.publish(&subject, json("{}")).await.unwrap();
    nodes[2].kill().await;
    let published = deadline(SOON, async {
        loop {
            if let Ok(seq) = operator.publish(&subject, json("{}")).await {
                return seq;
            }
        }
    });
    assert!(published.await.0 >= 2);
    assert!(operator.ingest_at(1).await.unwrap().is_some());
}
