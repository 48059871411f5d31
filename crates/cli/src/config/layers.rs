//! Layers of configuration: built-in defaults < file < environment < flags.
//!
//! The defaults name every key, so they decide what a key may be called and which type its text has.

use std::path::Path;

use toml::{Table, Value};

/// The commented defaults, which are the reference of every key as well.
pub(crate) const DEFAULTS: &str = include_str!("../../config.default.toml");

/// Names of the field that stand for a key of ours (CFG-1).
const USUAL_NAMES: [(&str, &str, &str); 4] = [
    ("DATABASE_URL", "ledger", "admin_url"),
    ("NATS_URL", "bus", "url"),
    ("OTEL_EXPORTER_OTLP_ENDPOINT", "log", "otlp_endpoint"),
    ("SIGNING_KEY_HEX", "keys", "signing_key_hex"),
];

/// What a file of settings is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Given {
    /// The operator's: the usual names of the environment stand above it.
    Configuration,
    /// Written by `logline dev`: a stack is not moved by addresses that other programs are told of.
    Stack,
}

/// Merges the layers; every fault is a sentence, and all of them are reported together.
pub(crate) fn merge(
    file: Option<(&Path, Given)>,
    environment: &[(String, String)],
) -> Result<Table, Vec<String>> {
    let mut table: Table = DEFAULTS
        .parse()
        .map_err(|error| vec![format!("the built-in configuration: {error}")])?;
    let mut faults = Vec::new();
    let usual = |table: &mut Table, faults: &mut Vec<String>| {
        for (name, section, key) in USUAL_NAMES {
            set_from(environment, name, section, key, table, faults);
        }
    };
    if let Some((_, Given::Stack)) = file {
        usual(&mut table, &mut faults);
    }
    if let Some((path, _)) = file {
        match read(path) {
            Ok(given) => overlay(&mut table, given, path, &mut faults),
            Err(fault) => faults.push(fault),
        }
    }
    match file {
        Some((_, Given::Stack)) => {}
        Some((_, Given::Configuration)) | None => usual(&mut table, &mut faults),
    }
    let keys: Vec<(String, String)> = table
        .iter()
        .filter_map(|(section, value)| Some((section, value.as_table()?)))
        .flat_map(|(section, keys)| keys.keys().map(|key| (section.clone(), key.clone())))
        .collect();
    for (section, key) in keys {
        let name = format!("LOGLINE_{}_{}", section.to_uppercase(), key.to_uppercase());
        set_from(environment, &name, &section, &key, &mut table, &mut faults);
    }
    if faults.is_empty() {
        Ok(table)
    } else {
        Err(faults)
    }
}

fn read(path: &Path) -> Result<Table, String> {
    let text = std::fs::read_to_string(path)
        .map_err(|error| format!("cannot read `{}`: {error}", path.display()))?;
    text.parse().map_err(|error: toml::de::Error| {
        // The error's own text quotes the line, which may hold a secret.
        let before = error.span().and_then(|span| text.get(..span.start));
        let line = before.unwrap_or_default().lines().count().max(1);
        format!("`{}`, line {line}: {}", path.display(), error.message())
    })
}

fn overlay(table: &mut Table, given: Table, path: &Path, faults: &mut Vec<String>) {
    for (section, keys) in given {
        let (Some(Value::Table(known)), Value::Table(keys)) = (table.get_mut(&section), keys)
        else {
            faults.push(format!(
                "`{}`: there is no section [{section}]",
                path.display()
            ));
            continue;
        };
        for (key, value) in keys {
            match known.get_mut(&key) {
                Some(slot) if slot.same_type(&value) => *slot = value,
                Some(slot) => faults.push(format!(
                    "`{}`: {section}.{key} wants {}, not {}",
                    path.display(),
                    slot.type_str(),
                    value.type_str()
                )),
                None => faults.push(format!(
                    "`{}`: there is no key {section}.{key}",
                    path.display()
                )),
            }
        }
    }
}

fn set_from(
    environment: &[(String, String)],
    name: &str,
    section: &str,
    key: &str,
    table: &mut Table,
    faults: &mut Vec<String>,
) {
    let Some((_, text)) = environment.iter().find(|(given, _)| given == name) else {
        return;
    };
    let Some(slot) = table
        .get_mut(section)
        .and_then(Value::as_table_mut)
        .and_then(|keys| keys.get_mut(key))
    else {
        return;
    };
    let parsed = match slot {
        Value::String(_) => Some(Value::String(text.clone())),
        Value::Integer(_) => text.parse().ok().map(Value::Integer),
        Value::Boolean(_) => text.parse().ok().map(Value::Boolean),
        Value::Float(_) => text.parse().ok().map(Value::Float),
        Value::Array(_) | Value::Table(_) | Value::Datetime(_) => format!("value = {text}")
            .parse::<Table>()
            .ok()
            .and_then(|mut table| table.remove("value"))
            .filter(|value| value.same_type(slot)),
    };
    match parsed {
        Some(value) => *slot = value,
        // The text itself may be a secret.
        None => faults.push(format!(
            "the environment variable {name} wants {}",
            slot.type_str()
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn environment(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
        pairs
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect()
    }

    #[test]
    fn ours_beats_the_usual_name_which_beats_the_file() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("logline.toml");
        std::fs::write(&file, "[bus]\nurl = \"nats://file\"\nreplicas = 3\n").unwrap();
        let url = |environment: &[(String, String)]| {
            let table = merge(Some((&file, Given::Configuration)), environment).unwrap();
            (
                table["bus"]["url"].as_str().unwrap().to_owned(),
                table["bus"]["replicas"].as_integer().unwrap(),
            )
        };
        assert_eq!(url(&[]), ("nats://file".to_owned(), 3));
        assert_eq!(
            url(&environment(&[("NATS_URL", "nats://usual")])).0,
            "nats://usual"
        );
        assert_eq!(
            url(&environment(&[
                ("NATS_URL", "nats://usual"),
                ("LOGLINE_BUS_URL", "nats://ours")
            ]))
            .0,
            "nats://ours"
        );
        let stack = merge(
            Some((&file, Given::Stack)),
            &environment(&[("NATS_URL", "nats://usual")]),
        );
        assert_eq!(stack.unwrap()["bus"]["url"].as_str(), Some("nats://file"));
    }

    #[test]
    fn a_line_that_does_not_parse_is_named_and_not_shown() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("logline.toml");
        std::fs::write(&file, "[bus]\nuser = \"a\"\npassword = \"hunter2\n").unwrap();
        let faults = merge(Some((&file, Given::Configuration)), &[])
            .unwrap_err()
            .join("\n");
        assert!(faults.contains("line 3"), "{faults}");
        assert!(!faults.contains("hunter2"), "{faults}");
    }

    #[test]
    fn every_fault_is_reported_at_once() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("logline.toml");
        std::fs::write(&file, "[bus]\nurl = 4\nurll = \"x\"\n[buss]\na = 1\n").unwrap();
        let faults = merge(
            Some((&file, Given::Configuration)),
            &environment(&[("LOGLINE_BUS_REPLICAS", "many")]),
        )
        .unwrap_err();
        assert_eq!(faults.len(), 4, "{faults:?}");
        assert!(faults.iter().all(|fault| !fault.contains("many")));
    }
}
