//! A witness program that is not ours: `litewitness` of filippo.io/torchwood, which `make setup` installs where there is Go.

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use logline_proof::{NodeHash, VerifierKey};
use logline_signer::Witness;
use logline_testkit::{deadline, found};
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt as _, BufReader, Lines};
use tokio::process::{Child, ChildStderr, Command};

use crate::world::{PATIENCE, World, policy, until};

const NAME: &str = "litewitness.test/one";

/// What the test runs; few machines have all of it.
struct Programs {
    witness: PathBuf,
    agent: PathBuf,
    keygen: PathBuf,
    add: PathBuf,
    sqlite: PathBuf,
}

impl Programs {
    fn find() -> Option<Self> {
        Some(Self {
            witness: found("litewitness")?,
            agent: found("ssh-agent")?,
            keygen: found("ssh-keygen")?,
            add: found("ssh-add")?,
            sqlite: found("sqlite3")?,
        })
    }
}

async fn run(program: &Path, directory: &Path, arguments: &[&str]) -> String {
    let mut command = Command::new(program);
    command.current_dir(directory).args(arguments);
    command.env("SSH_AUTH_SOCK", directory.join("agent"));
    let output = deadline(PATIENCE, command.output()).await.unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout).unwrap()
}

/// A program that ends with the test.
fn beside(program: &Path, directory: &Path, arguments: &[&str]) -> Child {
    let mut command = Command::new(program);
    command
        .current_dir(directory)
        .args(arguments)
        .kill_on_drop(true);
    command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped());
    command.spawn().unwrap()
}

/// The witness with its agent, in a directory of its own.
struct Litewitness {
    programs: Programs,
    directory: TempDir,
    address: String,
    key: VerifierKey,
    _children: [Child; 2],
    /// It ends where nobody could read what it says.
    _said: Lines<BufReader<ChildStderr>>,
}

impl Litewitness {
    async fn start(programs: Programs) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let here = directory.path();
        let keygen = ["-q", "-t", "ed25519", "-N", "", "-f", "key"];
        run(&programs.keygen, here, &keygen).await;
        let agent = beside(&programs.agent, here, &["-D", "-a", "agent"]);
        until(async || here.join("agent").exists().then_some(())).await;
        run(&programs.add, here, &["-q", "key"]).await;
        let fingerprint = run(&programs.keygen, here, &["-l", "-f", "key.pub"]).await;
        let fingerprint = fingerprint.split(' ').nth(1).unwrap();
        let address = {
            let free = TcpListener::bind("127.0.0.1:0").unwrap();
            free.local_addr().unwrap().to_string()
        };
        let flags = [
            ["-db", "db"],
            ["-ssh-agent", "agent"],
            ["-name", NAME],
            ["-key", fingerprint],
            ["-listen", &address],
        ];
        let mut child = beside(&programs.witness, here, flags.as_flattened());
        let mut said = BufReader::new(child.stderr.take().unwrap()).lines();
        let key = loop {
            let line = deadline(PATIENCE, said.next_line()).await;
            if let Some((_, key)) = line.unwrap().unwrap().split_once("vkey=") {
                break key.trim_matches('"').parse().unwrap();
            }
        };
        Self {
            programs,
            address,
            key,
            _children: [agent, child],
            _said: said,
            directory,
        }
    }

    async fn sql(&self, statement: &str) -> String {
        let arguments = ["-cmd", ".timeout 10000", "db", statement];
        run(&self.programs.sqlite, self.directory.path(), &arguments).await
    }

    /// Tells it of a log, as its operator does.
    async fn learn(&self, tenant: &str) {
        let (log, root) = (policy(tenant).log, NodeHash::empty());
        let origin = log.name();
        let insert = format!(
            "insert into log values ('{origin}', 0, '{root}'); insert into key values ('{origin}', '{log}');"
        );
        self.sql(&insert).await;
    }

    fn witness(&self) -> Witness {
        Witness {
            url: format!("http://{}", self.address),
            key: self.key.clone(),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn led_8_a_witness_program_of_others_cosigns_our_heads() {
    let Some(programs) = Programs::find() else {
        println!("not run: litewitness, OpenSSH or sqlite3 is not on this machine");
        return;
    };
    let litewitness = Litewitness::start(programs).await;
    litewitness.learn("acme").await;
    litewitness.learn("beta").await;
    let world = World::new().await;
    let _projector = world.projector();
    let (signer, _) = world.signer_with(vec![litewitness.witness()]).await;
    let keys = [litewitness.key.clone()];
    for (tenant, more, size) in [
        ("acme", 1, 1),
        ("beta", 600, 600),
        ("acme", 299, 300),
        ("beta", 1, 601),
    ] {
        world.seal_many(tenant, more).await;
        world.cosigned(tenant, size, &keys).await;
    }
    // Forgotten, what the witness knows is learnt from it.
    signer.stop().await;
    let (_signer, _) = world.signer_with(vec![litewitness.witness()]).await;
    world.seal_many("acme", 500).await;
    let head = world.cosigned("acme", 800, &keys).await;
    let known = "select tree_size, tree_hash from log where origin = 'log.test/acme'";
    let root = head.checkpoint().head.root;
    assert_eq!(litewitness.sql(known).await.trim(), format!("800|{root}"));
}
