//! Witnesses cosign every head, and hold up nothing (LED-8).

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use logline_ledger::Provable;
use logline_proof::tree::verify_consistency;
use logline_proof::{
    Algorithm, ConsistencyProof, Policy, SignatureLine, SignedCheckpoint, TreeHead, VerifierKey,
};
use logline_signer::Witness;
use logline_span::SigningKey;
use logline_testkit::deadline;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

use crate::world::{PATIENCE, World, policy, tenant, until};

/// When the witnesses of these tests sign, in seconds since 1970.
const AT_S: u64 = 1_769_860_800;

/// How a witness behaves.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Manner {
    Honest,
    /// Takes a request and never answers.
    Silent,
    /// 503 to everything.
    Busy,
    /// Signs with another key than its own.
    Forger,
    /// 200 with something that is no signature.
    Talker,
    /// 404 to everything.
    Stranger,
}

/// A witness as C2SP's page has it, with the state that it must keep.
struct Observer {
    port: u16,
    seed: u8,
    manner: Arc<Mutex<Manner>>,
    known: Arc<Mutex<HashMap<String, TreeHead>>>,
    /// The statuses that it answered with.
    answered: Arc<Mutex<Vec<u16>>>,
    _tasks: JoinSet<()>,
}

impl Observer {
    async fn start(seed: u8, manner: Manner) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let manner = Arc::new(Mutex::new(manner));
        let (known, answered) = <(Arc<Mutex<HashMap<_, _>>>, Arc<Mutex<Vec<u16>>>)>::default();
        let desk = Desk {
            seed,
            manner: Arc::clone(&manner),
            known: Arc::clone(&known),
            answered: Arc::clone(&answered),
        };
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            let mut calls = JoinSet::new();
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let desk = desk.clone();
                calls.spawn(async move { desk.serve(stream).await });
            }
        });
        Self {
            port,
            seed,
            manner,
            known,
            answered,
            _tasks: tasks,
        }
    }

    fn key(&self) -> VerifierKey {
        let name = format!("w.test/{}", self.seed).parse().unwrap();
        VerifierKey::new(name, Algorithm::CosignatureV1, key(self.seed).public_key())
    }

    fn witness(&self) -> Witness {
        Witness {
            url: format!("http://127.0.0.1:{}/base/", self.port),
            key: self.key(),
        }
    }

    fn becomes(&self, manner: Manner) {
        *self.manner.lock().unwrap() = manner;
    }

    fn answered(&self) -> Vec<u16> {
        self.answered.lock().unwrap().clone()
    }
}

fn key(seed: u8) -> SigningKey {
    SigningKey::from_seed(&[seed; 32])
}

#[derive(Clone)]
struct Desk {
    seed: u8,
    manner: Arc<Mutex<Manner>>,
    known: Arc<Mutex<HashMap<String, TreeHead>>>,
    answered: Arc<Mutex<Vec<u16>>>,
}

impl Desk {
    async fn serve(&self, stream: TcpStream) {
        let mut stream = BufReader::new(stream);
        let mut length = 0;
        let mut first = String::new();
        stream.read_line(&mut first).await.unwrap();
        assert!(first.starts_with("POST /base/add-checkpoint "), "{first}");
        loop {
            let mut line = String::new();
            stream.read_line(&mut line).await.unwrap();
            let line = line.trim().to_ascii_lowercase();
            if let Some(value) = line.strip_prefix("content-length:") {
                length = value.trim().parse().unwrap();
            }
            if line.is_empty() {
                break;
            }
        }
        let mut body = vec![0; length];
        stream.read_exact(&mut body).await.unwrap();
        let manner = *self.manner.lock().unwrap();
        if manner == Manner::Silent {
            return std::future::pending().await;
        }
        let (status, content_type, body) = self.answer(manner, std::str::from_utf8(&body).unwrap());
        self.answered.lock().unwrap().push(status);
        let answer = format!(
            "HTTP/1.1 {status} Said\r\ncontent-type: {content_type}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}",
            body.len()
        );
        stream.get_mut().write_all(answer.as_bytes()).await.unwrap();
    }

    fn answer(&self, manner: Manner, body: &str) -> (u16, &'static str, String) {
        let text = "text/plain";
        let signing = match manner {
            Manner::Busy => return (503, text, "busy\n".to_owned()),
            Manner::Stranger => return (404, text, "unknown log\n".to_owned()),
            Manner::Talker => return (200, text, "certainly\n".to_owned()),
            Manner::Forger => key(self.seed + 1),
            Manner::Honest | Manner::Silent => key(self.seed),
        };
        let request: ConsistencyProof = body.parse().unwrap();
        let checkpoint = request.checkpoint.checkpoint();
        let origin = checkpoint.origin.as_str().to_owned();
        let mut known = self.known.lock().unwrap();
        let old = known.get(&origin).copied();
        let size = old.map_or(0, |head| head.size);
        if request.old_size != size {
            return (409, "text/x.tlog.size", format!("{size}\n"));
        }
        if old.is_some_and(|old| verify_consistency(&old, &checkpoint.head, &request.path).is_err())
        {
            return (422, text, String::new());
        }
        known.insert(origin, checkpoint.head);
        let name = format!("w.test/{}", self.seed).parse().unwrap();
        let note = request.checkpoint.note().text();
        let other = SignatureLine::cosign(note, &"w.test/other".parse().unwrap(), &key(99), AT_S);
        let own = SignatureLine::cosign(note, &name, &signing, AT_S);
        (200, text, format!("{other}\n{own}\n"))
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn led_8_heads_are_cosigned_by_every_witness_and_carry_it_everywhere() {
    let world = World::new().await;
    let _projector = world.projector();
    let witnesses = [
        Observer::start(11, Manner::Honest).await,
        Observer::start(13, Manner::Honest).await,
    ];
    let keys = [witnesses[0].key(), witnesses[1].key()];
    let (_signer, _) = world
        .signer_with(witnesses.iter().map(Observer::witness).collect())
        .await;
    let mut size = 0;
    for more in [1, 300, 400] {
        world.seal_many("acme", more).await;
        size += more as u64;
        world.cosigned("acme", size, &keys).await;
    }
    world.check("acme").await;

    let policy = Policy {
        witnesses: keys.to_vec(),
        threshold: 2,
        ..policy("acme")
    };
    let session = world.person("acme", "alice");
    for cosigned in [false, true] {
        let note = session
            .checkpoint(&tenant("acme"), cosigned)
            .await
            .unwrap()
            .unwrap();
        let note: SignedCheckpoint = note.parse().unwrap();
        assert_eq!(policy.trust(&note).unwrap().head.size, size);
        assert_eq!(note.note().signatures().len(), 3, "nobody else's");
    }
    let id = world
        .sql("select id from ledger.span where position = 5")
        .parse()
        .unwrap();
    match session.proof(id, None).await.unwrap() {
        Some(Provable::Proof(proof)) => {
            assert_eq!(proof.verify_link(&policy).unwrap().position.get(), 5)
        }
        other => panic!("{other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn led_9_verification_goes_through_cosignatures_and_may_ask_for_a_witness() {
    let world = World::new().await;
    let _projector = world.projector();
    let witness = Observer::start(11, Manner::Honest).await;
    let keys = [witness.key()];
    let (_signer, _) = world.signer_with(vec![witness.witness()]).await;
    for size in [1, 2] {
        world.seal("acme", "").await;
        world.cosigned("acme", size, &keys).await;
    }
    let scope = |witnesses: &[VerifierKey]| logline_ledger::Scope {
        tenants: vec![tenant("acme")],
        witnesses: witnesses.to_vec(),
        ..logline_ledger::Scope::default()
    };
    let report = world
        .verifier()
        .verify(&scope(&keys), |_| ())
        .await
        .unwrap();
    assert!(report.ok && report.anchored, "{:?}", report.failures);
    let stranger = VerifierKey::new(
        "w.test/x".parse().unwrap(),
        Algorithm::CosignatureV1,
        key(9).public_key(),
    );
    let report = world
        .verifier()
        .verify(&scope(&[stranger]), |_| ())
        .await
        .unwrap();
    assert!(!report.ok && !report.anchored);
    world.tamper(
        "cosignature",
        "cosignature_no_update",
        "update ledger.cosignature set line = replace(line, 'w.test/11 ', 'w.test/11 A') where size = 1 and witness like 'w.test/11+%'",
    );
    let report = world.verifier().verify(&scope(&[]), |_| ()).await.unwrap();
    assert_eq!(report.failures.len(), 1, "{:?}", report.failures);
    assert_eq!(report.failures[0].position, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_witness_that_knows_another_size_is_asked_again_from_there() {
    let world = World::new().await;
    let _projector = world.projector();
    let witness = Observer::start(11, Manner::Honest).await;
    let keys = [witness.key()];
    let (signer, _) = world.signer_with(vec![witness.witness()]).await;
    world.seal_many("acme", 5).await;
    world.cosigned("acme", 5, &keys).await;
    signer.stop().await;

    // A signer that was started again has forgotten what the witness knows.
    let (signer, _) = world.signer_with(vec![witness.witness()]).await;
    world.seal_many("acme", 300).await;
    world.cosigned("acme", 305, &keys).await;
    let answered = witness.answered();
    assert!(answered.contains(&409), "{answered:?}");
    assert!(
        answered.iter().all(|status| [200, 409].contains(status)),
        "{answered:?}"
    );
    signer.stop().await;

    // A new witness gets the head that is there already.
    let second = Observer::start(13, Manner::Honest).await;
    let both = [witness.key(), second.key()];
    let (_signer, _) = world
        .signer_with(vec![witness.witness(), second.witness()])
        .await;
    world.cosigned("acme", 305, &both).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn witnesses_that_fail_hold_up_nobody_and_their_answers_are_not_believed() {
    let world = World::new().await;
    let _projector = world.projector();
    let honest = Observer::start(11, Manner::Honest).await;
    let mut witnesses = vec![honest.witness()];
    let mut others = Vec::new();
    let manners = [
        Manner::Silent,
        Manner::Busy,
        Manner::Forger,
        Manner::Talker,
        Manner::Stranger,
    ];
    for (manner, seed) in manners.into_iter().zip((21..).step_by(2)) {
        others.push(Observer::start(seed, manner).await);
    }
    witnesses.extend(others.iter().map(Observer::witness));
    // Nobody listens there.
    let nobody = Observer::start(41, Manner::Honest).await.witness();
    witnesses.push(nobody);
    let (_signer, _) = world.signer_with(witnesses).await;
    for size in 1..=10 {
        world.seal("acme", "").await;
        let sealed = Instant::now();
        world.signed("acme", size).await;
        assert!(
            sealed.elapsed() < Duration::from_secs(1),
            "{:?}",
            sealed.elapsed()
        );
    }
    let note = world.cosigned("acme", 10, &[honest.key()]).await;
    assert_eq!(
        note.note().signatures().len(),
        2,
        "the log's and the honest witness's"
    );
    let kept = world.sql("select distinct split_part(witness, '+', 1) from ledger.cosignature");
    assert_eq!(kept, "w.test/11");

    // Each has its place again when it mends its manners.
    others
        .iter()
        .for_each(|other| other.becomes(Manner::Honest));
    let mut all: Vec<VerifierKey> = others.iter().map(Observer::key).collect();
    all.push(honest.key());
    world.cosigned("acme", 10, &all).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_witness_knows_better_is_an_incident_in_the_tenants_own_chain() {
    let world = World::new().await;
    let _projector = world.projector();
    let forked = Observer::start(11, Manner::Honest).await;
    let ahead = Observer::start(13, Manner::Honest).await;
    let root = logline_proof::NodeHash::leaf(b"another history");
    let head = |size| TreeHead { size, root };
    forked
        .known
        .lock()
        .unwrap()
        .insert("log.test/acme".to_owned(), head(2));
    ahead
        .known
        .lock()
        .unwrap()
        .insert("log.test/beta".to_owned(), head(7_000_000));
    let (_signer, _) = world
        .signer_with(vec![forked.witness(), ahead.witness()])
        .await;
    world.seal_many("acme", 5).await;
    assert_eq!(world.incident("acme").await, "witness_disagrees");
    world.seal_many("beta", 5).await;
    assert_eq!(world.incident("beta").await, "witness_ahead");
    // The log is signed on, and the other witness goes on too.
    world.seal("acme", "").await;
    world.cosigned("acme", 6, &[ahead.key()]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_signers_with_the_same_witness_come_to_rest() {
    let world = World::new().await;
    let _projector = world.projector();
    let witness = Observer::start(11, Manner::Honest).await;
    let (_one, _) = world.signer_with(vec![witness.witness()]).await;
    let (_two, _) = world.signer_with(vec![witness.witness()]).await;
    for size in 1..=20 {
        world.seal("acme", "").await;
        world.signed("acme", size).await;
    }
    world.cosigned("acme", 20, &[witness.key()]).await;
    world.check("acme").await;
    // Nothing is published again and again: the number of the newest head stands still.
    let number = async || {
        world
            .bus
            .checkpoint(&tenant("acme"))
            .await
            .unwrap()
            .unwrap()
            .seq
    };
    let mut last = number().await;
    let mut since = Instant::now();
    let rest = until(async || {
        let newest = number().await;
        if newest != last {
            (last, since) = (newest, Instant::now());
        }
        (since.elapsed() > Duration::from_secs(2)).then_some(())
    });
    deadline(PATIENCE, rest).await;
}
