//! The vectors of other implementations (`crates/proof/vectors/`): added, never edited.

use logline_proof::note::{Error, Text};
use logline_proof::tile::Resource;
use logline_proof::tree::{verify_consistency, verify_inclusion};
use logline_proof::{
    Algorithm, Checkpoint, ConsistencyProof, EntryBundle, InclusionProof, NodeHash, Note, Plan,
    SignatureLine, SignedCheckpoint, Tile, VerifierKey,
};
use logline_span::Hash;
use serde_json::Value;
use sha2::{Digest as _, Sha256};

use crate::{Log, key};

fn read(name: &str) -> Value {
    let path = format!("{}/vectors/{name}", env!("CARGO_MANIFEST_DIR"));
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

fn list<'a>(vector: &'a Value, key: &str) -> &'a Vec<Value> {
    vector[key].as_array().unwrap()
}

fn text<'a>(vector: &'a Value, key: &str) -> &'a str {
    vector[key].as_str().unwrap()
}

fn number(vector: &Value, key: &str) -> u64 {
    vector[key].as_u64().unwrap()
}

fn path(vector: &Value) -> Vec<NodeHash> {
    let hash = |hash: &Value| hash.as_str().unwrap().parse().unwrap();
    list(vector, "path").iter().map(hash).collect()
}

/// What leaf `number` of the tree holds.
fn content(number: u64) -> [u8; 32] {
    Sha256::digest(number.to_string()).into()
}

fn log() -> Log {
    Log::of((0..70_000).map(|number| NodeHash::leaf(&content(number))))
}

#[test]
fn led_8_roots_and_proofs_are_those_of_go() {
    let (vectors, log) = (read("tree.json"), log());
    for vector in list(&vectors, "roots") {
        let head = log.head(number(vector, "size"));
        assert_eq!(head.root.to_string(), text(vector, "root"), "{vector}");
    }
    for vector in list(&vectors, "inclusions") {
        let (size, index) = (number(vector, "size"), number(vector, "index"));
        let path = path(vector);
        assert_eq!(log.inclusion(index, size), path, "{vector}");
        let leaf = NodeHash::leaf(&content(index));
        verify_inclusion(&log.head(size), index, &leaf, &path).unwrap();
    }
    for vector in list(&vectors, "consistencies") {
        let (old, new) = (number(vector, "old"), number(vector, "new"));
        let path = path(vector);
        assert_eq!(log.consistency(old, new), path, "{vector}");
        verify_consistency(&log.head(old), &log.head(new), &path).unwrap();
    }
}

#[test]
fn the_reference_tree_of_certificate_transparency_has_its_roots() {
    let reference = &read("tree.json")["reference"];
    let bytes = |value: &Value| hex::decode(value.as_str().unwrap()).unwrap();
    let leaves: Vec<_> = list(reference, "leaves").iter().map(bytes).collect();
    let log = Log::of(leaves.iter().map(|content| NodeHash::leaf(content)));
    let roots = list(reference, "roots");
    assert_eq!((leaves.len(), roots.len()), (8, 9));
    for (size, root) in (0..).zip(roots) {
        assert_eq!(log.head(size).root.as_bytes().as_slice(), bytes(root));
    }
}

#[test]
fn signed_notes_are_those_of_go() {
    let vectors = read("note.json");
    for vector in list(&vectors, "vectors") {
        let signing = key(u8::try_from(number(vector, "seed")).unwrap());
        let name = text(vector, "name").parse().unwrap();
        let body: Text = text(vector, "text").parse().unwrap();
        let note = Note::new(body.clone(), SignatureLine::sign(&body, &name, &signing));
        assert_eq!(note.to_string(), text(vector, "signed"));

        let verifier = VerifierKey::new(name, Algorithm::Ed25519, signing.public_key());
        assert_eq!(verifier.to_string(), text(vector, "vkey"));
        let read: Note = text(vector, "signed").parse().unwrap();
        assert_eq!(read, note);
        assert_eq!(read.verify(&[verifier]).unwrap().len(), 1);
    }
    let example = &vectors["example"];
    let verifier: VerifierKey = text(example, "vkey").parse().unwrap();
    let note: Note = text(example, "signed").parse().unwrap();
    assert_eq!(note.verify(&[verifier]).unwrap().len(), 1);
}

#[test]
fn checkpoints_cosignatures_proofs_and_requests_are_those_of_go() {
    let (vector, log) = (read("checkpoint.json"), log());
    let size = number(&vector, "size");
    let checkpoint = Checkpoint::new(text(&vector, "origin").parse().unwrap(), log.head(size));
    let mut signed = checkpoint.sign(&key(1)).unwrap();
    assert_eq!(signed.to_string(), text(&vector, "signed"));

    let mut keys: Vec<VerifierKey> = vec![text(&vector["log"], "vkey").parse().unwrap()];
    let mut times = vec![None];
    for witness in list(&vector, "witnesses") {
        let verifier: VerifierKey = text(witness, "vkey").parse().unwrap();
        assert_eq!(verifier.algorithm(), Algorithm::CosignatureV1);
        assert_eq!(verifier.to_string(), text(witness, "vkey"));
        let seed = key(u8::try_from(number(witness, "seed")).unwrap());
        let at_s = number(witness, "time");
        let body = signed.note().text();
        let line = SignatureLine::cosign(body, verifier.name(), &seed, at_s);
        signed.add(line).unwrap();
        keys.push(verifier);
        times.push(Some(at_s));
    }
    assert_eq!(signed.to_string(), text(&vector, "cosigned"));
    let read: SignedCheckpoint = text(&vector, "cosigned").parse().unwrap();
    let verified = read.verify(&keys).unwrap();
    let seen: Vec<_> = verified.iter().map(|one| one.cosigned_at_s).collect();
    assert_eq!(seen, times);

    let index = number(&vector, "index");
    let proof = InclusionProof {
        extra: Some(b"extra".to_vec()),
        index,
        path: log.inclusion(index, size),
        checkpoint: signed,
    };
    assert_eq!(proof.to_string(), text(&vector, "tlog_proof"));
    assert_eq!(text(&vector, "tlog_proof").parse(), Ok(proof));

    let old_size = number(&vector, "old");
    let request = ConsistencyProof {
        old_size,
        path: log.consistency(old_size, size),
        checkpoint: text(&vector, "signed").parse().unwrap(),
    };
    assert_eq!(request.to_string(), text(&vector, "request"));
    assert_eq!(text(&vector, "request").parse(), Ok(request));
}

#[test]
fn the_checkpoints_in_c2sps_own_pages_are_read() {
    let page = "example.com/behind-the-sofa\n20852163\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n\n\
        \u{2014} example.com/behind-the-sofa Az3grlgtzPICa5OS8npVmf1Myq/5IZniMp+ZJurmRDeOoRDe4URYN7u5/Zhcyv2q1gGzGku9nTo+zyWE+xeMcTOAYQ8=\n\
        \u{2014} witness.example.com/w1 jWbPPwAAAABkGFDLEZMHwSRaJNiIDoe9DYn/zXcrtPHeolMI5OWXEhZCB9dlrDJsX3b2oyin1nPZqhf5nNo0xUe+mbIUBkBIfZ+qnA==\n";
    let signed: SignedCheckpoint = page.parse().unwrap();
    assert_eq!(signed.checkpoint().head.size, 20_852_163);
    assert_eq!(signed.note().signatures().len(), 2);
    assert_eq!(signed.to_string(), page);
}

#[test]
fn verifier_keys_that_go_refuses_are_refused() {
    let good = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW";
    assert_eq!(good.parse::<VerifierKey>().unwrap().to_string(), good);
    for (bad, why) in [
        ("PeterNeumann", Error::VerifierKey),
        ("PeterNeumann+c74f20a3", Error::VerifierKey),
        ("PeterNeumann+c74f20a3+", Error::VerifierKey),
        ("PeterNeumann+c74f20a3+ARpc2QcU", Error::VerifierKey),
        (&good.replace("c74f20a3", "173fe0ae"), Error::KeyId),
        (&good.replace("c74f20a3", "C74F20A3"), Error::KeyId),
        (&good.replace("PeterNeumann", "PeterNeuman"), Error::KeyId),
        (
            &good.replace("PeterNeumann", "Peter Neumann"),
            Error::KeyName,
        ),
        (&good.replace("PeterNeumann", ""), Error::KeyName),
        (&good.replace("ARpc", "Ahpc"), Error::Algorithm),
    ] {
        assert_eq!(bad.parse::<VerifierKey>(), Err(why), "{bad}");
    }
}

#[test]
fn led_8_tiles_and_their_paths_are_those_of_go() {
    let (vectors, log) = (read("tile.json"), log());
    for vector in list(&vectors, "paths") {
        let index = number(vector, "index");
        let width = u16::try_from(number(vector, "width")).unwrap();
        let resource = match vector["level"].as_u64() {
            Some(level) => {
                Tile::new(u8::try_from(level).unwrap(), index, width).map(Resource::Tile)
            }
            None => EntryBundle::new(index, width).map(Resource::Entries),
        };
        assert_eq!(resource.unwrap().to_string(), text(vector, "path"));
        assert_eq!(text(vector, "path").parse(), Ok(resource.unwrap()));
    }
    for vector in list(&vectors, "refused") {
        assert!(vector.as_str().unwrap().parse::<Resource>().is_err());
    }
    for path in [
        "tile/64/000",
        "tile/-1/000",
        "tile/data/000",
        "tile/0/x018/x446/x744/x073/x709/x551/616",
    ] {
        assert!(path.parse::<Resource>().is_err(), "{path}");
    }
    for vector in list(&vectors, "exist") {
        let size = number(vector, "size");
        let all: Vec<_> = Tile::all(size).collect();
        assert_eq!(all.len() as u64, number(vector, "count"), "{size}");
        for tile in list(vector, "tiles") {
            let Ok(Resource::Tile(named)) = text(tile, "path").parse() else {
                panic!("{tile}");
            };
            assert!(all.contains(&named) && named.is_within(size), "{tile}");
            let bytes = Tile::bytes(&log.tile(&named));
            assert_eq!(hex::encode(Sha256::digest(&bytes)), text(tile, "sha256"));
            assert_eq!(named.read(&bytes).unwrap(), log.tile(&named));
        }
    }
    let entries: Vec<_> = (0..3)
        .map(|number| Hash::from_bytes(content(number)))
        .collect();
    let bytes = EntryBundle::bytes(&entries);
    assert_eq!(hex::encode(&bytes), text(&vectors, "entries"));
    assert_eq!(EntryBundle::new(0, 3).unwrap().read(&bytes), Ok(entries));
    assert!(EntryBundle::new(0, 2).unwrap().read(&bytes).is_err());
}

#[test]
fn a_plan_names_few_tiles() {
    let paths = |plan: Plan| -> Vec<_> { plan.tiles().iter().map(ToString::to_string).collect() };
    assert_eq!(
        paths(Plan::inclusion(12_345, 70_000).unwrap()),
        [
            "tile/0/048",
            "tile/0/273.p/112",
            "tile/1/000",
            "tile/1/001.p/17"
        ]
    );
    assert_eq!(
        paths(Plan::frontier(70_000).unwrap()),
        ["tile/0/273.p/112", "tile/1/001.p/17", "tile/2/000.p/1"]
    );
    assert_eq!(paths(Plan::consistency(0, 70_000).unwrap()), [""; 0]);
    assert_eq!(paths(Plan::consistency(70_000, 70_000).unwrap()), [""; 0]);
}
