//! The log as `tlog-tiles`, read by an implementation that is not ours (LED-8).

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use logline_proof::{ConsistencyProof, Policy, SignedCheckpoint, VerifierKey};
use logline_testkit::{deadline, found};
use serde_json::json;
use tlog_tiles::{
    Hash, HashReader, Tile, TileHashReader, TileReader, check_record, check_tree, prove_record,
    prove_tree, record_hash, stored_hash_index,
};
use tokio::process::Command;
use tokio::runtime::Handle;

use crate::client::Client;
use crate::verifying::{signed, signer};
use crate::world::{PATIENCE, World};

const PREFIX: &str = "/api/log/acme";
/// A cold compiler on a busy machine.
const BUILT_MAX: Duration = Duration::from_secs(300);

/// Tiles by HTTP, for a client that knows nothing of ours.
struct Remote(Client);

impl Remote {
    fn fetch(&self, path: &str) -> Vec<u8> {
        let path = format!("{PREFIX}/tile/{path}");
        let answer = tokio::task::block_in_place(|| Handle::current().block_on(self.0.get(&path)));
        assert_eq!(answer.status, 200, "{path}: {}", answer.text);
        assert_eq!(answer.header("content-type"), "application/octet-stream");
        let caching = answer.header("cache-control");
        assert!(
            caching.contains("immutable") && caching.contains("private"),
            "{caching}"
        );
        answer.bytes
    }
}

impl TileReader for Remote {
    fn height(&self) -> u8 {
        8
    }

    fn read_tiles(&self, tiles: &[Tile]) -> Result<Vec<Vec<u8>>, tlog_tiles::Error> {
        // Theirs names the height first, as the checksum database of Go does.
        let fetch = |tile: &Tile| self.fetch(tile.path().strip_prefix("tile/8/").unwrap());
        Ok(tiles.iter().map(fetch).collect())
    }

    fn save_tiles(&self, _: &[Tile], _: &[Vec<u8>]) {}
}

async fn seal(client: &Client, count: usize) {
    let note = json!({"entity_type": "note", "who": "ann", "this": "a", "visibility": "private"});
    let lines = format!("{note}\n").repeat(count);
    let answer = client
        .post("/api/spans", "application/x-ndjson", lines)
        .await;
    let sealed = answer
        .text
        .lines()
        .filter(|line| line.contains("curr_hash"));
    assert_eq!(sealed.count(), count, "{}", answer.text);
}

/// The newest head, once it is of that size.
async fn head(client: &Client, size: u64) -> SignedCheckpoint {
    let newest = async {
        loop {
            let answer = signed(client, "/api/checkpoints/acme").await;
            let head: SignedCheckpoint = answer.text.parse().unwrap();
            if head.checkpoint().head.size == size {
                return head;
            }
            tokio::task::yield_now().await;
        }
    };
    deadline(PATIENCE, newest).await
}

fn theirs(head: &SignedCheckpoint) -> tlog_tiles::Checkpoint {
    tlog_tiles::Checkpoint::from_bytes(head.note().text().as_str().as_bytes()).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn led_8_a_whole_log_is_read_and_proved_by_another_implementation() {
    let world = World::new().await;
    let (alice, olga) = (world.alice(), world.olga());
    let _signer = signer(&world);
    seal(&alice, 300).await;
    let early = head(&olga, 300).await;
    seal(&alice, 300).await;
    let late = head(&olga, 600).await;
    let (old, new) = (theirs(&early), theirs(&late));
    assert_eq!((new.origin(), new.size()), ("log.test/acme", 600));

    let remote = Remote(olga.clone());
    let tree = TileHashReader::new(new.size(), *new.hash(), &remote);
    let bundles = ["entries/000", "entries/001", "entries/002.p/88"];
    let entries: Vec<u8> = bundles.iter().flat_map(|path| remote.fetch(path)).collect();
    let (entries, rest) = entries.as_chunks::<34>();
    assert_eq!((entries.len(), rest.len()), (600, 0));
    let leaves: Vec<u64> = (0..600).map(|index| stored_hash_index(0, index)).collect();
    let leaves = tree.read_hashes(&leaves).unwrap();
    for (index, (entry, leaf)) in entries.iter().zip(&leaves).enumerate() {
        assert_eq!(entry[..2], [0, 32]);
        assert_eq!(record_hash(&entry[2..]), *leaf, "entry {index}");
    }
    for index in [0, 255, 256, 599] {
        let proof = prove_record(600, index, &tree).unwrap();
        let leaf = leaves[usize::try_from(index).unwrap()];
        check_record(&proof, 600, *new.hash(), index, leaf).unwrap();
    }
    let grown = prove_tree(600, 300, &tree).unwrap();
    check_tree(&grown, 600, *new.hash(), 300, *old.hash()).unwrap();

    // The proof that the API makes is the one that they make of the tiles.
    let answer = alice
        .get(&format!("{PREFIX}/consistency?from=300&to=600"))
        .await;
    let proof: ConsistencyProof = answer.text.parse().unwrap();
    let ours: Vec<Hash> = proof
        .path
        .iter()
        .map(|hash| Hash(*hash.as_bytes()))
        .collect();
    assert_eq!(ours, grown);
    let key: VerifierKey = alice
        .get("/api/log/keys")
        .await
        .text
        .trim_end()
        .parse()
        .unwrap();
    proof
        .verify(&early, &Policy::log_alone(key.clone()))
        .unwrap();
    assert!(proof.verify(&late, &Policy::log_alone(key)).is_err());
}

/// The monitor in Go, built from the modules that `make setup` fetches for another program; none where they are not on this machine.
async fn monitor(directory: &Path) -> Option<PathBuf> {
    let program = directory.join("monitor");
    let go = |arguments: &[&OsStr]| {
        let mut command = Command::new(found("go")?);
        command
            .args(arguments)
            .env("GOPROXY", "off")
            .env("GOTOOLCHAIN", "local");
        command.current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/../proof/monitor"));
        Some(command)
    };
    let listed = go(&["list", "-deps", "."].map(OsStr::new))?.output();
    if !deadline(PATIENCE, listed).await.unwrap().status.success() {
        return None;
    }
    let built = go(&["build".as_ref(), "-o".as_ref(), program.as_ref()])?.output();
    let built = deadline(BUILT_MAX, built).await.unwrap();
    assert!(
        built.status.success(),
        "{}",
        String::from_utf8_lossy(&built.stderr)
    );
    Some(program)
}

#[tokio::test(flavor = "multi_thread")]
async fn led_8_a_monitor_of_others_reads_a_whole_log_and_sees_it_grow() {
    let directory = tempfile::tempdir().unwrap();
    let Some(monitor) = monitor(directory.path()).await else {
        println!("not run: Go, or the modules of the monitor, are not on this machine");
        return;
    };
    let world = World::new().await;
    let _signer = signer(&world);
    let (alice, olga) = (world.alice(), world.olga());
    let prefix = format!("http://{}{PREFIX}", world.addr);
    let kept = directory.path().join("kept");
    let mut old = Vec::new();
    let mut size = 0;
    for more in [3, 300, 256] {
        seal(&alice, more).await;
        size += more;
        let newest = head(&olga, size as u64).await;
        let key = alice.get("/api/log/keys").await.text;
        let mut command = Command::new(&monitor);
        command
            .args(&old)
            .arg(&prefix)
            .arg(key.trim_end())
            .env("TOKEN", "olga's");
        let output = deadline(PATIENCE, command.output()).await.unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{said}");
        assert_eq!(String::from_utf8_lossy(&output.stdout), newest.to_string());
        assert_eq!(said.lines().count(), size, "every entry once");
        std::fs::write(&kept, &output.stdout).unwrap();
        old = vec!["-old".into(), kept.clone().into_os_string()];
    }
    let mut command = Command::new(&monitor);
    let key = alice.get("/api/log/keys").await.text;
    command
        .arg(&prefix)
        .arg(key.trim_end())
        .env("TOKEN", "alice's");
    let refused = deadline(PATIENCE, command.output()).await.unwrap();
    assert!(!refused.status.success());
}

#[tokio::test(flavor = "multi_thread")]
async fn only_who_may_read_all_of_a_log_is_given_its_tiles() {
    let world = World::new().await;
    let _signer = signer(&world);
    let (alice, olga) = (world.alice(), world.olga());
    seal(&alice, 3).await;
    let newest = head(&olga, 3).await;
    let places = [
        "checkpoint",
        "tile/0/000.p/3",
        "tile/0/000.p/1",
        "tile/entries/000.p/2",
    ];
    for place in places {
        let path = format!("{PREFIX}/{place}");
        assert_eq!(olga.get(&path).await.status, 200, "{path}");
        for name in ["alice's", "mary's", "eve's", "adam's"] {
            let refused = world.by(name).get(&path).await;
            assert_eq!(refused.problem(), "404 not_found", "{name} {path}");
        }
        assert_eq!(
            world.anonymous().get(&path).await.problem(),
            "401 unauthorized"
        );
        let elsewhere = path.replace("acme", "system");
        assert_eq!(olga.get(&elsewhere).await.problem(), "404 not_found");
    }
    for place in [
        "tile/0/000",
        "tile/0/000.p/4",
        "tile/0/001.p/1",
        "tile/1/000.p/1",
        "tile/64/000.p/1",
        "tile/0/0.p/1",
        "tile/entries/000",
        "tile/entries/x000/000.p/1",
        "tile/00/000.p/1",
        "tile/0/000.p/0",
        "tile/8/0/000.p/3",
    ] {
        let refused = olga.get(&format!("{PREFIX}/{place}")).await;
        assert_eq!(refused.problem(), "404 not_found", "{place}");
        assert_eq!(refused.header("cache-control"), "no-store", "{place}");
    }
    let checkpoint = olga.get(&format!("{PREFIX}/checkpoint")).await;
    assert_eq!(checkpoint.text, newest.to_string());
    assert_eq!(
        checkpoint.header("content-type"),
        "text/plain; charset=utf-8"
    );
    assert_eq!(checkpoint.header("cache-control"), "private, max-age=1");
}

#[tokio::test(flavor = "multi_thread")]
async fn growth_is_proved_between_any_two_heads_to_who_belongs_to_the_tenant() {
    let world = World::new().await;
    let _signer = signer(&world);
    let (alice, olga) = (world.alice(), world.olga());
    let mut heads = Vec::new();
    for size in [1, 2, 257, 300] {
        seal(&alice, size - heads.last().map_or(0, |(size, _)| *size)).await;
        heads.push((size, head(&olga, size as u64).await));
    }
    let key: VerifierKey = alice
        .get("/api/log/keys")
        .await
        .text
        .trim_end()
        .parse()
        .unwrap();
    let policy = Policy::log_alone(key);
    for (from, old) in &heads {
        for (to, new) in heads.iter().filter(|(to, _)| to >= from) {
            let path = format!("{PREFIX}/consistency?from={from}&to={to}");
            let proof: ConsistencyProof = alice.get(&path).await.text.parse().unwrap();
            proof.verify(old, &policy).unwrap();
            assert_eq!(proof.checkpoint.checkpoint(), new.checkpoint());
        }
    }
    let newest: ConsistencyProof = alice
        .get(&format!("{PREFIX}/consistency?from=2"))
        .await
        .text
        .parse()
        .unwrap();
    assert_eq!(newest.checkpoint.checkpoint().head.size, 300);
    for (query, problem) in [
        ("from=1&to=299", "404 not_found"),
        ("from=301", "404 not_found"),
        ("to=300", "400 invalid_query /from"),
        ("from=-1", "400 invalid_query /from"),
        ("from=9223372036854775808", "400 invalid_query /from"),
        ("from=2&to=1", "400 invalid_query /to"),
        ("from=1&to=2&x=1", "400 invalid_query /x"),
    ] {
        let refused = alice.get(&format!("{PREFIX}/consistency?{query}")).await;
        assert_eq!(refused.problem(), problem, "{query}");
    }
    for stranger in [world.eve(), world.anonymous()] {
        let refused = stranger.get(&format!("{PREFIX}/consistency?from=1")).await;
        assert_eq!(refused.problem(), "404 not_found");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_state_of_a_chain_is_told_to_who_belongs_to_the_tenant_led_9() {
    let world = World::new().await;
    let alice = world.alice();
    let empty = alice.get("/api/verify").await.json();
    let nothing =
        json!({"tenant": "acme", "ok": true, "sealed": null, "signed": null, "verified": null});
    assert_eq!(empty, nothing);

    let _signer = signer(&world);
    seal(&alice, 5).await;
    head(&world.olga(), 5).await;
    let verifier = world.verifier();
    let scope = logline_ledger::Scope::default();
    let report = verifier.verify(&scope, |_| ()).await.unwrap();
    verifier.record(&scope, &report).await.unwrap();
    let state = alice.get("/api/verify").await.json();
    assert_eq!(state["ok"], true);
    assert_eq!(state["sealed"]["position"], 5);
    let signed =
        ["size", "signature_holds", "root_holds", "cosignatures"].map(|key| &state["signed"][key]);
    assert_eq!(signed, [&json!(5), &json!(true), &json!(true), &json!(0)]);
    let verified = ["first", "last", "failures", "anchored"].map(|key| &state["verified"][key]);
    assert_eq!(verified, [&json!(1), &json!(5), &json!(0), &json!(false)]);

    for (client, path, problem) in [
        (world.eve(), "/api/verify?tenant=acme", "404 not_found"),
        (
            world.anonymous(),
            "/api/verify?tenant=acme",
            "404 not_found",
        ),
        (world.anonymous(), "/api/verify", "401 unauthorized"),
        (
            world.alice(),
            "/api/verify?tenant=A",
            "400 invalid_query /tenant",
        ),
    ] {
        assert_eq!(client.get(path).await.problem(), problem, "{path}");
    }
    let system = world.anonymous().get("/api/verify?tenant=system").await;
    assert_eq!(system.json()["ok"], true);
}
