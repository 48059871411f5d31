//! Rules about text that no other tool checks. Each is a function from a file to its breaches.

use std::{
    fs,
    path::{Path, PathBuf},
};

use crate::workspace::root;

/// Tests not counted: above this a file is two files.
const FILE_LINES_MAX: usize = 800;
/// A crate's front page says what it is, what it never does and where to start.
const FRONT_PAGE_LINES_MAX: usize = 15;
/// Files that are longer for a reason, with the reason.
const LONG_FILES: [(&str, &str); 0] = [];

/// Built, fetched or private: nobody reviews it.
const SKIPPED: [&str; 4] = ["target", ".git", ".logline", "node_modules"];
/// What is written by people. The rest (keys, vectors, binaries) has checks of its own.
const WRITTEN: [&str; 10] = [
    "rs", "toml", "md", "sh", "sql", "conf", "js", "mjs", "yml", "yaml",
];

/// A file, by its path from the root.
struct File<'a> {
    path: &'a str,
    text: &'a str,
}

impl File<'_> {
    fn is_rust(&self) -> bool {
        self.path.ends_with(".rs")
    }

    /// A manifest of this workspace; the recipe of the engine below `sandbox` is one of its own.
    fn is_manifest(&self) -> bool {
        let Some(folder) = self.path.strip_suffix("Cargo.toml") else {
            return false;
        };
        folder.trim_start_matches("crates/").matches('/').count() <= 1
    }

    /// Tests of a module, integration tests and measurements.
    fn is_test(&self) -> bool {
        self.path.ends_with("/tests.rs")
            || self.path.contains("/tests/")
            || self.path.contains("/benches/")
    }

    /// The lines with their numbers, up to the file's own tests.
    fn code(&self) -> impl Iterator<Item = (usize, &str)> {
        let end = if self.is_test() {
            None
        } else {
            self.text.find("\n#[cfg(test)]\nmod tests {")
        };
        let code = end
            .and_then(|end| self.text.get(..end))
            .unwrap_or(self.text);
        (1..).zip(code.lines())
    }

    fn breach(&self, line: usize, what: impl std::fmt::Display) -> String {
        format!("{}:{line}: {what}", self.path)
    }
}

const RULES: [fn(&File<'_>) -> Vec<String>; 11] = [
    modules_have_names_that_say_something,
    files_are_short,
    front_pages_are_short,
    folds_name_every_kind,
    exceptions_are_reasoned_and_nothing_is_unfinished,
    addresses_are_built_by_the_bus,
    no_path_of_one_machine,
    manifests_inherit,
    dependencies_have_one_home,
    links_lead_somewhere,
    text_is_plain,
];

fn modules_have_names_that_say_something(file: &File<'_>) -> Vec<String> {
    const EMPTY: [&str; 6] = ["common", "helper", "helpers", "misc", "util", "utils"];
    if !file.is_rust() {
        return Vec::new();
    }
    let names = file.path.trim_end_matches(".rs").split('/');
    let empty = names.filter(|name| EMPTY.contains(name) || *name == "mod");
    empty
        .map(|name| file.breach(1, format!("a module called `{name}`")))
        .collect()
}

fn files_are_short(file: &File<'_>) -> Vec<String> {
    let lines = file.code().count();
    let is_listed = LONG_FILES.iter().any(|(path, _)| *path == file.path);
    if !file.is_rust() || file.is_test() || is_listed || lines <= FILE_LINES_MAX {
        return Vec::new();
    }
    vec![file.breach(
        lines,
        format!("more than {FILE_LINES_MAX} lines without tests"),
    )]
}

fn front_pages_are_short(file: &File<'_>) -> Vec<String> {
    let is_front = file.path.ends_with("src/lib.rs") || file.path.ends_with("src/main.rs");
    let lines = file
        .text
        .lines()
        .filter(|line| line.starts_with("//!"))
        .count();
    if is_front && !(1..=FRONT_PAGE_LINES_MAX).contains(&lines) {
        return vec![file.breach(1, format!("a front page of {lines} lines"))];
    }
    Vec::new()
}

/// Where spans are folded, a new kind of one must break what has not thought about it.
fn folds_name_every_kind(file: &File<'_>) -> Vec<String> {
    const FOLDING: [&str; 4] = ["law", "ledger", "projector", "span"];
    let is_folding = FOLDING
        .iter()
        .any(|name| file.path == format!("crates/{name}/src/lib.rs"));
    if is_folding && !file.text.contains("wildcard_enum_match_arm") {
        return vec![file.breach(1, "without `#![warn(clippy::wildcard_enum_match_arm)]`")];
    }
    Vec::new()
}

fn exceptions_are_reasoned_and_nothing_is_unfinished(file: &File<'_>) -> Vec<String> {
    // Taken apart, so that this file does not hold what it forbids.
    const FORBIDDEN: [&str; 8] = [
        concat!("#[", "allow("),
        concat!("#![", "allow("),
        concat!("#[", "ignore"),
        concat!("#[", "should_panic"),
        concat!("FIX", "ME"),
        concat!("to", "do!("),
        concat!("unimple", "mented!("),
        concat!("db", "g!("),
    ];
    if !file.is_rust() {
        return Vec::new();
    }
    let found = (1..).zip(file.text.lines()).flat_map(|(number, line)| {
        FORBIDDEN
            .iter()
            .filter(move |forbidden| line.contains(*forbidden))
            .map(move |found| (number, found))
    });
    found
        .map(|(number, found)| file.breach(number, format!("`{found}`")))
        .collect()
}

fn addresses_are_built_by_the_bus(file: &File<'_>) -> Vec<String> {
    const NAMESPACES: [&str; 7] = [
        "checkpoint.",
        "ingest.",
        "logline.publish.",
        "quarantine.",
        "timeline.",
        "timer.",
        "timers.",
    ];
    if !file.is_rust() || file.is_test() || file.path.starts_with("crates/bus/") {
        return Vec::new();
    }
    let mut breaches = Vec::new();
    for (number, line) in file.code() {
        let built = line
            .split("format!(\"")
            .skip(1)
            .any(|rest| NAMESPACES.iter().any(|space| rest.starts_with(space)));
        if built {
            breaches.push(file.breach(
                number,
                "an address built by hand; `bus::Subject` builds them",
            ));
        }
    }
    breaches
}

fn no_path_of_one_machine(file: &File<'_>) -> Vec<String> {
    const HOMES: [&str; 4] = [
        concat!("/ro", "ot/"),
        concat!("/wo", "rk/"),
        concat!("/ho", "me/"),
        concat!("/Use", "rs/"),
    ];
    let found = (1..).zip(file.text.lines()).filter(|(_, line)| {
        HOMES.iter().any(|home| {
            let mut starts = line
                .match_indices(home)
                .map(|(at, _)| line.get(..at).and_then(|before| before.chars().last()));
            // `crates/work/` is no absolute path.
            starts.any(|before| {
                before.is_none_or(|before| !before.is_alphanumeric() && !"._-~}".contains(before))
            })
        })
    });
    found
        .map(|(number, line)| {
            file.breach(number, format!("a path of one machine: {}", line.trim()))
        })
        .collect()
}

fn manifests_inherit(file: &File<'_>) -> Vec<String> {
    if !file.is_manifest() || file.path == "Cargo.toml" {
        return Vec::new();
    }
    let wanted = [
        "[lints]\nworkspace = true",
        "edition.workspace = true",
        "rust-version.workspace = true",
    ];
    let absent = wanted.iter().filter(|wanted| !file.text.contains(*wanted));
    absent
        .map(|wanted| file.breach(1, format!("without `{}`", wanted.replace('\n', " "))))
        .collect()
}

fn dependencies_have_one_home(file: &File<'_>) -> Vec<String> {
    if !file.is_manifest() {
        return Vec::new();
    }
    let is_root = file.path == "Cargo.toml";
    let (mut section, mut previous, mut breaches) = ("", "", Vec::new());
    for (number, line) in (1..).zip(file.text.lines()) {
        if line.starts_with('[') {
            (section, previous) = (line, "");
        }
        // Ours come first, then a blank line, then the others.
        if line.is_empty() {
            previous = "";
        }
        let is_entry = line.starts_with(|c: char| c.is_ascii_alphanumeric());
        if !section.contains("dependencies]") || !is_entry {
            continue;
        }
        let Some((name, value)) = line.split_once('=') else {
            continue;
        };
        if !is_root && !value.contains("workspace = true") && !name.ends_with(".workspace ") {
            breaches.push(file.breach(
                number,
                format!("the version of {name}belongs into the root manifest"),
            ));
        }
        if is_root && name.trim() < previous {
            breaches
                .push(file.breach(number, format!("{name}is not in its place in the alphabet")));
        }
        previous = name.trim();
    }
    breaches
}

fn links_lead_somewhere(file: &File<'_>) -> Vec<String> {
    if !file.path.ends_with(".md") {
        return Vec::new();
    }
    let here = root().join(file.path);
    let here = here.parent().unwrap_or(&here);
    let (mut is_code, mut breaches) = (false, Vec::new());
    for (number, line) in (1..).zip(file.text.lines()) {
        is_code ^= line.trim_start().starts_with("```");
        for rest in line.split("](").skip(1).filter(|_| !is_code) {
            let target = rest.split([')', '#', ' ']).next().unwrap_or_default();
            let is_elsewhere =
                target.contains("://") || target.starts_with("mailto:") || target.is_empty();
            if !is_elsewhere && !here.join(target).exists() {
                breaches
                    .push(file.breach(number, format!("a link to `{target}`, which is not there")));
            }
        }
    }
    breaches
}

fn text_is_plain(file: &File<'_>) -> Vec<String> {
    let mut breaches = Vec::new();
    for (number, line) in (1..).zip(file.text.lines()) {
        if line.ends_with([' ', '\t']) {
            breaches.push(file.breach(number, "space at the end of the line"));
        }
        if line.chars().any(|c| matches!(c, '\u{1f000}'..='\u{1faff}' | '\u{2600}'..='\u{26ff}' | '\u{2700}'..='\u{27bf}')) {
            breaches.push(file.breach(number, "a picture among the letters"));
        }
    }
    if !file.text.is_empty() && !file.text.ends_with('\n') {
        breaches.push(file.breach(file.text.lines().count(), "no line feed at the end"));
    }
    breaches
}

fn breaches(path: &str, text: &str) -> Vec<String> {
    RULES
        .iter()
        .flat_map(|rule| rule(&File { path, text }))
        .collect()
}

fn written_files(dir: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(dir).unwrap().flatten() {
        let (path, name) = (
            entry.path(),
            entry.file_name().to_string_lossy().into_owned(),
        );
        if entry.file_type().unwrap().is_dir() {
            if !SKIPPED.contains(&name.as_str()) {
                written_files(&path, found);
            }
        } else if ["Makefile", "run"].contains(&name.as_str())
            || WRITTEN
                .iter()
                .any(|kind| name.ends_with(&format!(".{kind}")))
        {
            found.push(path);
        }
    }
}

#[test]
fn every_written_file_keeps_the_rules() {
    let mut files = Vec::new();
    written_files(&root(), &mut files);
    files.sort();
    let mut found = Vec::new();
    for file in files {
        let path = file
            .strip_prefix(root())
            .unwrap()
            .to_string_lossy()
            .into_owned();
        match fs::read_to_string(&file) {
            Ok(text) => found.extend(breaches(&path, &text)),
            Err(error) => found.push(format!("{path}: {error}")),
        }
    }
    assert!(found.is_empty(), "\n{}\n", found.join("\n"));
}

/// One breach of a planted file, and none when it is mended.
fn caught(path: &str, bad: &str, good: &str) {
    assert_eq!(
        breaches(path, bad).len(),
        1,
        "{path}: {bad:?}: {:?}",
        breaches(path, bad)
    );
    assert_eq!(
        breaches(path, good),
        Vec::<String>::new(),
        "{path}: {good:?}"
    );
}

#[test]
fn empty_module_names_are_caught() {
    for path in [
        "crates/bus/src/utils.rs",
        "crates/bus/src/subject/mod.rs",
        "crates/bus/src/helpers/a.rs",
    ] {
        assert_eq!(breaches(path, "\n").len(), 1, "{path}");
    }
    assert_eq!(
        breaches("crates/bus/src/modes.rs", "\n"),
        Vec::<String>::new()
    );
}

#[test]
fn long_files_are_caught_and_their_tests_are_not_counted() {
    let code = "fn f() {}\n".repeat(FILE_LINES_MAX);
    caught(
        "crates/bus/src/a.rs",
        &format!("{code}fn g() {{}}\n"),
        &format!("{code}\n#[cfg(test)]\nmod tests {{\n{code}}}\n"),
    );
    assert_eq!(
        breaches("crates/bus/src/a/tests.rs", &code.repeat(2)),
        Vec::<String>::new()
    );
}

#[test]
fn missing_and_endless_front_pages_are_caught() {
    caught(
        "crates/bus/src/lib.rs",
        "mod a;\n",
        "//! The bus.\nmod a;\n",
    );
    caught(
        "crates/bus/src/main.rs",
        &"//! More.\n".repeat(16),
        &"//! More.\n".repeat(15),
    );
}

#[test]
fn folds_that_may_forget_a_kind_are_caught() {
    let good = "//! Folds.\n#![warn(clippy::wildcard_enum_match_arm)]\n";
    caught("crates/ledger/src/lib.rs", "//! Folds.\n", good);
}

#[test]
fn unreasoned_exceptions_and_unfinished_code_are_caught() {
    for bad in [
        concat!("#[", "allow(dead_code)]"),
        concat!("#![", "allow(dead_code)]"),
        concat!("#[", "ignore = \"slow\"]"),
        concat!("#[", "should_panic]"),
        concat!("// FIX", "ME later"),
        concat!("    to", "do!()"),
        concat!("    unimple", "mented!()"),
        concat!("    db", "g!(x)"),
    ] {
        caught(
            "crates/bus/src/a.rs",
            &format!("{bad}\n"),
            "#[expect(dead_code, reason = \"read by the debugger\")]\n",
        );
    }
}

#[test]
fn addresses_built_by_hand_are_caught_outside_of_the_bus() {
    let bad = "let s = format!(\"ingest.{tenant}.x.note\");\n";
    caught(
        "crates/api/src/a.rs",
        bad,
        "let s = Subject::Ingest { tenant };\n",
    );
    assert_eq!(
        breaches("crates/bus/src/subject.rs", bad),
        Vec::<String>::new()
    );
    assert_eq!(
        breaches("crates/api/tests/it/main.rs", bad),
        Vec::<String>::new()
    );
}

#[test]
fn paths_of_one_machine_are_caught() {
    let bad = format!("See {}notes.\n", concat!("/ho", "me/ann/"));
    caught("docs/a.md", &bad, "See ~/notes and crates/work/notes.\n");
}

#[test]
fn manifests_on_their_own_are_caught() {
    let good = "[package]\nedition.workspace = true\nrust-version.workspace = true\n\n[lints]\nworkspace = true\n";
    caught(
        "crates/bus/Cargo.toml",
        &good.replace("[lints]\nworkspace = true\n", ""),
        good,
    );
    let dependency = |entry: &str| format!("{good}\n[dependencies]\n{entry}\n");
    caught(
        "crates/bus/Cargo.toml",
        &dependency("bytes = \"1\""),
        &dependency("bytes = { workspace = true }"),
    );
    let root = |entries: &str| format!("[workspace.dependencies]\n{entries}\n");
    caught(
        "Cargo.toml",
        &root("bytes = \"1\"\nanyhow = \"1\""),
        &root("anyhow = \"1\"\nbytes = \"1\""),
    );
}

#[test]
fn broken_links_are_caught() {
    caught(
        "docs/a.md",
        "See [it](nowhere.md).\n",
        "See [it](../Cargo.toml#lints), [that](https://example.org/x).\n",
    );
}

#[test]
fn untidy_text_is_caught() {
    caught("docs/a.md", "A line. \n", "A line.\n");
    caught("docs/a.md", "A line.", "A line.\n");
    caught("docs/a.md", "Done \u{1f389}\n", "Done → said “so”\n");
}
