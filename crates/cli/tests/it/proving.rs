//! Proofs that leave the system, and are checked where it is not (LED-10).

use std::time::{Duration, Instant};

use logline_proof::{Algorithm, InclusionProof, SignatureLine, SignedCheckpoint, VerifierKey};
use logline_span::SigningKey;
use serde_json::Value;

use crate::process::{Stack, answer, run};

/// What is sealed is signed within a second (LED-8); a loaded machine is given more.
const SIGNED_MAX: Duration = Duration::from_secs(20);

#[test]
fn a_span_is_proved_where_there_is_no_stack() {
    let directory = tempfile::tempdir().unwrap();
    let here = directory.path();
    let stack = Stack::start(here);
    let published = answer(
        here,
        &[
            "publish",
            "--entity-type",
            "activity",
            "--who",
            "me",
            "--this",
            "door",
        ],
    );
    let receipt: Value = serde_json::from_str(&published).unwrap();
    let id = receipt["id"].as_str().unwrap();
    let deadline = Instant::now() + SIGNED_MAX;
    let proof = loop {
        let output = run(here, &["proof", id]);
        if output.status.success() {
            break String::from_utf8(output.stdout).unwrap();
        }
        assert_eq!(output.status.code(), Some(1));
        assert!(
            Instant::now() < deadline,
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
    };
    let kept = answer(here, &["proof", "--consistency", "0", "--tenant", "dev"]);
    let (_, kept) = kept.split_once("\n\n").unwrap();
    let size = kept.lines().nth(1).unwrap();
    answer(
        here,
        &[
            "publish",
            "--entity-type",
            "activity",
            "--who",
            "me",
            "--this",
            "gate",
        ],
    );
    let growth = loop {
        let output = run(here, &["proof", "--consistency", size, "--tenant", "dev"]);
        let growth = String::from_utf8(output.stdout).unwrap();
        if !growth.ends_with(kept) {
            break growth;
        }
        assert!(Instant::now() < deadline, "{growth}");
    };
    let exported = answer(here, &["export", "--tenant", "dev"]);
    let keys = answer(here, &["keys"]);
    let key = keys.lines().find(|key| key.contains("/dev+")).unwrap();
    let mode = std::fs::metadata(here.join(".logline/signer.key")).unwrap();
    assert_eq!(
        std::os::unix::fs::PermissionsExt::mode(&mode.permissions()) & 0o777,
        0o600
    );
    stack.stop();

    let elsewhere = tempfile::tempdir().unwrap();
    let there = elsewhere.path();
    std::fs::write(there.join("span.proof"), &proof).unwrap();
    let checked = answer(there, &["proof", "--check", "span.proof", "--key", key]);
    let checked: Value = serde_json::from_str(&checked).unwrap();
    assert_eq!(
        (&checked["ok"], &checked["curr_hash"]),
        (&Value::Bool(true), &receipt["curr_hash"])
    );

    // A witness that is asked for must have cosigned, in each of the forms.
    let seed = SigningKey::from_seed(&[3; 32]);
    let name = "w.test/one".parse().unwrap();
    let witness = VerifierKey::new(name, Algorithm::CosignatureV1, seed.public_key());
    let cosign = |signed: &mut SignedCheckpoint| {
        let line = SignatureLine::cosign(signed.note().text(), witness.name(), &seed, 1);
        signed.add(line).unwrap();
    };
    let mut cosigned: InclusionProof = proof.parse().unwrap();
    cosign(&mut cosigned.checkpoint);
    std::fs::write(there.join("cosigned.proof"), cosigned.to_string()).unwrap();
    let (lines, closing) = exported.trim_end().rsplit_once('\n').unwrap();
    let closing: Value = serde_json::from_str(closing).unwrap();
    let mut closing: SignedCheckpoint = closing["checkpoint"].as_str().unwrap().parse().unwrap();
    cosign(&mut closing);
    let closing = serde_json::json!({ "checkpoint": closing.to_string() });
    std::fs::write(
        there.join("cosigned.ndjson"),
        format!("{lines}\n{closing}\n"),
    )
    .unwrap();
    std::fs::write(there.join("dev.ndjson"), &exported).unwrap();
    let asked = witness.to_string();
    for (file, export, code) in [
        ("cosigned.proof", "cosigned.ndjson", 0),
        ("span.proof", "dev.ndjson", 1),
    ] {
        let check = ["proof", "--check", file, "--key", key, "--witness", &asked];
        assert_eq!(run(there, &check).status.code(), Some(code), "{file}");
        let check = ["verify", "--export", export, "--witness", &asked];
        assert_eq!(run(there, &check).status.code(), Some(code), "{export}");
    }

    std::fs::write(there.join("growth"), &growth).unwrap();
    std::fs::write(there.join("kept"), kept).unwrap();
    let check = [
        "proof", "--check", "growth", "--since", "kept", "--key", key,
    ];
    let grown: Value = serde_json::from_str(&answer(there, &check)).unwrap();
    assert_eq!(grown["old_size"].to_string(), size);
    std::fs::write(there.join("kept"), growth.split_once("\n\n").unwrap().1).unwrap();
    assert_eq!(
        run(there, &check).status.code(),
        Some(1),
        "from another size"
    );
    assert_eq!(
        run(there, &["proof", "--check", "growth", "--key", key])
            .status
            .code(),
        Some(2)
    );

    std::fs::write(there.join("dev.ndjson"), &exported).unwrap();
    let verify = ["verify", "--export", "dev.ndjson", "--key", key];
    let whole: Value = serde_json::from_str(&answer(there, &verify)).unwrap();
    assert_eq!(
        [&whole["ok"], &whole["anchored"], &whole["checked"]],
        [&Value::Bool(true), &Value::Bool(true), &Value::from(2)]
    );
    for (from, to, part) in [
        ("door", "gate", "content"),
        ("\"position\":1", "\"position\":3", "gap"),
        (
            "\"published_by\":\"me\"",
            "\"published_by\":\"you\"",
            "content",
        ),
        ("\\n2\\n", "\\n3\\n", "checkpoint"),
    ] {
        assert!(exported.contains(from), "{from}");
        std::fs::write(there.join("dev.ndjson"), exported.replace(from, to)).unwrap();
        let broken = run(there, &verify);
        assert_eq!(broken.status.code(), Some(1), "{from}");
        let broken: Value = serde_json::from_slice(&broken.stdout).unwrap();
        assert_eq!(broken["failures"][0]["part"], part, "{from}");
    }
    let (cut, _) = exported.trim_end().rsplit_once('\n').unwrap();
    std::fs::write(there.join("dev.ndjson"), cut).unwrap();
    assert_eq!(run(there, &verify).status.code(), Some(2));

    let changed = proof.replacen("index 0", "index 1", 1);
    std::fs::write(there.join("forged.proof"), changed).unwrap();
    let refused = run(there, &["proof", "--check", "forged.proof", "--key", key]);
    assert_eq!(refused.status.code(), Some(1));
    assert!(
        String::from_utf8(refused.stderr)
            .unwrap()
            .contains("proves nothing")
    );
    // A stack that is started again goes on with the same key.
    let stack = Stack::start(here);
    assert_eq!(answer(here, &["keys"]), keys);
    stack.stop();
}
