//! Imports go down only, and one crate alone names each technology (`ARCHITECTURE.md`).
//!
//! Tests may import what they like of ours: nothing that ships depends on them.

use std::collections::BTreeMap;

use cargo_metadata::{DependencyKind, MetadataCommand};

use crate::workspace::root;

const OURS: &str = "logline-";

/// Every crate with its layer and what it may import. What is not here is refused.
const LAYERS: [(&str, u8, &[&str]); 16] = [
    ("span", 0, &[]),
    ("stack", 0, &[]),
    ("telemetry", 0, &[]),
    ("proof", 1, &["span"]),
    ("bus", 2, &["span", "telemetry"]),
    ("ledger", 2, &["span", "proof"]),
    ("access", 3, &["span", "ledger"]),
    ("sandbox", 3, &["span"]),
    ("actors", 4, &["span", "bus", "ledger", "sandbox"]),
    (
        "api",
        4,
        &["span", "proof", "bus", "ledger", "access", "telemetry"],
    ),
    ("projector", 4, &["span", "proof", "bus", "ledger"]),
    ("signer", 4, &["span", "proof", "bus", "ledger"]),
    (
        "cli",
        5,
        &[
            "span",
            "stack",
            "telemetry",
            "proof",
            "bus",
            "ledger",
            "access",
            "sandbox",
            "actors",
            "api",
            "projector",
            "signer",
        ],
    ),
    ("testkit", 6, &["span", "stack"]),
    ("loadtest", 6, &["span", "bus"]),
    ("xtask", 6, &[]),
];

/// A technology, by the beginning of its package names, and the crates that may name it.
const TECHNOLOGIES: [(&str, &[&str]); 21] = [
    ("async-nats", &["bus"]),
    ("sqlx", &["ledger"]),
    ("wasmtime", &["sandbox"]),
    ("ractor", &["actors"]),
    ("axum", &["api"]),
    ("hyper", &["api"]),
    ("tower", &["api"]),
    ("opentelemetry", &["telemetry"]),
    ("tracing-opentelemetry", &["telemetry"]),
    ("tracing-subscriber", &["telemetry"]),
    ("metrics-exporter-prometheus", &["telemetry"]),
    ("ed25519-dalek", &["span", "sandbox"]),
    ("clap", &["cli", "loadtest", "xtask"]),
    ("anyhow", &["cli", "loadtest", "testkit", "xtask"]),
    ("ureq", &["access", "cli", "signer"]),
    ("jsonwebtoken", &["access"]),
    ("ring", &["access"]),
    ("governor", &["api"]),
    ("nix", &["stack", "sandbox", "loadtest"]),
    ("goose", &["loadtest"]),
    ("reqwest", &["loadtest"]),
];

/// Names that say nothing about what is inside.
const EMPTY_NAMES: [&str; 4] = ["common", "core", "shared", "types"];

/// What of a crate's manifest the rules are about.
#[derive(Debug)]
struct Manifest {
    package: String,
    folder: String,
    is_published: bool,
    /// Names of normal and build dependencies.
    imports: Vec<String>,
}

fn breaches(manifests: &[Manifest]) -> Vec<String> {
    manifests
        .iter()
        .flat_map(|manifest| {
            named_well(manifest)
                .into_iter()
                .chain(imported_well(manifest))
        })
        .collect()
}

fn named_well(manifest: &Manifest) -> Vec<String> {
    let Manifest {
        package,
        folder,
        is_published,
        ..
    } = manifest;
    let mut breaches = Vec::new();
    if folder.starts_with("crates/") && *package != format!("{OURS}{}", short(folder)) {
        breaches.push(format!(
            "{folder} holds {package}: a package is `{OURS}` and its folder"
        ));
    }
    if EMPTY_NAMES.contains(&short(folder)) {
        breaches.push(format!(
            "{folder}: the name says nothing about what is inside"
        ));
    }
    if *is_published {
        breaches.push(format!("{package} may be published"));
    }
    breaches
}

fn imported_well(manifest: &Manifest) -> Vec<String> {
    let name = short(&manifest.folder);
    let layers: BTreeMap<_, _> = LAYERS
        .iter()
        .map(|(name, layer, allowed)| (*name, (*layer, *allowed)))
        .collect();
    let Some((_, allowed)) = layers.get(name) else {
        return vec![format!("{name} is not in the table of layers")];
    };
    let mut breaches = Vec::new();
    for import in &manifest.imports {
        if let Some(ours) = import.strip_prefix(OURS)
            && !allowed.contains(&ours)
        {
            breaches.push(format!("{name} imports {ours}"));
        }
        for (technology, owners) in TECHNOLOGIES {
            let is_named = import == technology
                || import.starts_with(&format!("{technology}-"))
                || import.starts_with(&format!("{technology}_"));
            if is_named && !owners.contains(&name) {
                breaches.push(format!(
                    "{name} names {import}, which belongs to {}",
                    owners.join(", ")
                ));
            }
        }
    }
    breaches
}

fn short(folder: &str) -> &str {
    folder.rsplit_once('/').map_or(folder, |(_, name)| name)
}

fn manifests() -> Vec<Manifest> {
    let metadata = MetadataCommand::new()
        .current_dir(root())
        .no_deps()
        .exec()
        .unwrap();
    let read = |package: cargo_metadata::Package| Manifest {
        folder: package
            .manifest_path
            .parent()
            .unwrap()
            .strip_prefix(root())
            .unwrap()
            .to_string(),
        is_published: package.publish != Some(Vec::new()),
        imports: package
            .dependencies
            .into_iter()
            .filter(|dependency| dependency.kind != DependencyKind::Development)
            .map(|dependency| dependency.name)
            .collect(),
        package: package.name.to_string(),
    };
    metadata.packages.into_iter().map(read).collect()
}

#[test]
fn imports_go_down_only_and_technologies_stay_in_their_crates() {
    assert_eq!(breaches(&manifests()), Vec::<String>::new());
}

#[test]
fn the_table_itself_goes_down_only() {
    let layer_of = |wanted: &str| LAYERS.iter().find(|(name, ..)| *name == wanted).unwrap().1;
    for (name, layer, allowed) in LAYERS {
        for import in allowed {
            assert!(layer_of(import) < layer, "{name} imports {import}");
        }
    }
}

#[test]
fn every_kind_of_breach_is_caught() {
    let planted = |folder: &str, import: &str| {
        let package = format!("{OURS}{}", short(folder));
        let imports = vec![import.to_owned()];
        breaches(&[Manifest {
            package,
            folder: folder.to_owned(),
            is_published: false,
            imports,
        }])
    };
    assert_eq!(
        planted("crates/bus", "logline-ledger"),
        ["bus imports ledger"]
    );
    assert_eq!(
        planted("crates/api", "logline-projector"),
        ["api imports projector"]
    );
    assert_eq!(planted("crates/span", "logline-bus"), ["span imports bus"]);
    assert_eq!(
        planted("crates/cli", "logline-testkit"),
        ["cli imports testkit"]
    );
    assert_eq!(
        planted("crates/api", "sqlx"),
        ["api names sqlx, which belongs to ledger"]
    );
    assert_eq!(
        planted("crates/bus", "opentelemetry_sdk"),
        ["bus names opentelemetry_sdk, which belongs to telemetry"]
    );
    assert_eq!(planted("crates/span", "serde"), Vec::<String>::new());
    assert_eq!(
        planted("crates/gateway", "serde"),
        ["gateway is not in the table of layers"]
    );
    assert!(
        planted("crates/common", "serde")
            .iter()
            .any(|breach| breach.contains("says nothing"))
    );

    let stray = Manifest {
        package: "span".to_owned(),
        folder: "crates/span".to_owned(),
        is_published: true,
        imports: Vec::new(),
    };
    assert_eq!(breaches(&[stray]).len(), 2);
}
