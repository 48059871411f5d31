//! What people and programs see: tables, JSON, and errors with the next step.

use std::io::{IsTerminal, Write};

use anyhow::Result;
use serde_json::Value;

use crate::args::Output;

/// Prints the whole chain of an error on standard error.
pub(crate) fn report(error: &anyhow::Error) {
    // It may quote what a server or another process said.
    let text = format!("logline: {error:#}");
    let lines: Vec<String> = text.lines().map(printable).collect();
    let _ = aside(&lines.join("\n"));
}

/// The form in which to answer: as asked, else a table on a terminal and JSON elsewhere.
pub(crate) fn form(asked: Option<Output>) -> Output {
    asked.unwrap_or(if std::io::stdout().is_terminal() {
        Output::Table
    } else {
        Output::Json
    })
}

/// Writes one line to standard output at once; a closed pipe is an error, so that a command ends with its reader.
pub(crate) fn line(text: &str) -> Result<()> {
    let mut out = std::io::stdout().lock();
    if out.is_terminal() {
        writeln!(out, "{}", escaped(text))?;
    } else {
        writeln!(out, "{text}")?;
    }
    out.flush()?;
    Ok(())
}

/// Text for a terminal: what could act on it, which in JSON stands in strings alone, as JSON escapes it.
fn escaped(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for character in text.chars() {
        if acts(character) && character != '\n' {
            shown.push_str(&format!("\\u{:04x}", u32::from(character)));
        } else {
            shown.push(character);
        }
    }
    shown
}

/// Whether a character moves the cursor, recolours, or turns the direction of what follows.
fn acts(character: char) -> bool {
    character.is_control()
        || matches!(
            character,
            '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}'
        )
}

/// Writes one line to standard error.
pub(crate) fn aside(text: &str) -> Result<()> {
    writeln!(std::io::stderr(), "{text}")?;
    Ok(())
}

/// Writes lines that end with their line feeds, to the byte.
pub(crate) fn text(lines: &str) -> Result<()> {
    let mut out = std::io::stdout().lock();
    out.write_all(lines.as_bytes())?;
    out.flush()?;
    Ok(())
}

/// Columns of a table of spans: heading, JSON field, width on a terminal.
const COLUMNS: [(&str, &str, usize); 7] = [
    ("POSITION", "position", 8),
    ("RECEIVED", "received_at", 27),
    ("TYPE", "entity_type", 18),
    ("WHO", "who", 18),
    ("DID", "did", 12),
    ("THIS", "this", 22),
    ("STATUS", "status", 10),
];

/// The heading of a table of spans.
pub(crate) fn heading() -> String {
    row(COLUMNS.map(|(heading, _, _)| heading.to_owned())) + "ID"
}

/// A span as one row of such a table.
pub(crate) fn span_row(span: &Value) -> String {
    let text = |field: &str| match span.get(field) {
        Some(Value::String(text)) => printable(text),
        Some(Value::Null) | None => String::new(),
        Some(other) => other.to_string(),
    };
    row(COLUMNS.map(|(_, field, _)| text(field))) + &text("id")
}

fn row(cells: [String; COLUMNS.len()]) -> String {
    let mut line = String::new();
    for (cell, (_, _, width)) in cells.iter().zip(COLUMNS) {
        let shown: String = if cell.chars().count() > width {
            cell.chars()
                .take(width.saturating_sub(1))
                .chain(['…'])
                .collect()
        } else {
            cell.clone()
        };
        let padding = width.saturating_sub(shown.chars().count());
        line.push_str(&shown);
        line.extend(std::iter::repeat_n(' ', padding.saturating_add(2)));
    }
    line
}

/// Text of strangers must not move the cursor or recolour the terminal.
pub(crate) fn printable(text: &str) -> String {
    text.chars()
        .map(|character| {
            if acts(character) {
                '\u{fffd}'
            } else {
                character
            }
        })
        .collect()
}

/// Fields of one span, a line each, long text folded under its name.
pub(crate) fn fields(span: &Value) -> String {
    let Some(object) = span.as_object() else {
        return span.to_string();
    };
    let width = object.keys().map(String::len).max().unwrap_or(0);
    let mut text = String::new();
    for (name, value) in object {
        let shown = match value {
            Value::String(value) if name == "code" => {
                format!(
                    "\n{}",
                    value
                        .lines()
                        .map(printable)
                        .map(|line| format!("    {line}\n"))
                        .collect::<String>()
                )
            }
            Value::String(value) => printable(value),
            other => printable(&other.to_string()),
        };
        text.push_str(&format!(
            "{name:<width$}  {}\n",
            shown.trim_end_matches('\n')
        ));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_row_keeps_its_columns_whatever_the_text() {
        let long = json!({"position": 7, "who": "a".repeat(300), "this": "x\u{1b}[31m", "id": "i"});
        let shown = span_row(&long);
        assert!(shown.contains('…') && !shown.contains('\u{1b}'));
        assert_eq!(shown.chars().count(), heading().chars().count() - 1);
    }

    #[test]
    fn json_on_a_terminal_stays_json_and_acts_on_nothing() {
        let text = json!({"who": "a\u{9b}2J\u{202e}b\u{7f}", "this": "é"}).to_string();
        let shown = escaped(&text);
        assert!(!shown.chars().any(acts), "{shown:?}");
        let read: Value = serde_json::from_str(&shown).unwrap();
        assert_eq!(read["who"], "a\u{9b}2J\u{202e}b\u{7f}");
        assert!(printable("a\u{202e}b").contains('\u{fffd}'));
    }

    #[test]
    fn no_field_moves_the_cursor_however_deep() {
        let span = json!({"content": {"x": "\u{9b}2J"}, "code": "a\u{1b}[2J\nb", "who": "\u{7f}"});
        let shown = fields(&span);
        assert!(
            shown.chars().all(|it| it == '\n' || !it.is_control()),
            "{shown:?}"
        );
    }
}
