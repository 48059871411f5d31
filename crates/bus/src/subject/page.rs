//! Renders `docs/subjects.md`, so that the page cannot say anything else than the code.

use std::fmt::Write as _;

use super::{Filter, Subject};

const INTRODUCTION: &str = "\
# Addresses on the bus

This page is rendered from `crates/bus/src/subject.rs`; a test compares them.

An address is a list of tokens separated by dots: first what it is about, last what identifies it.
`principal`, `owner`, `kind` and `id` are percent-encoded where they hold `.`, `*`, `>`, `%`, white space or control characters:
the bytes of their UTF-8 form as `%` and two upper-case hex digits.
A lone `_` stands for none, so a text that is exactly `_` is written `%5F`.
Each text has one form: a token that decodes but is written in another way is refused.
The entity type comes last and its dots are tokens.
";

/// What an address of each form is for: form, stream, example.
const FORMS: [(&str, &str); 8] = [
    (
        "`INGEST`",
        "ingest.acme.employee@company%2Ecom.law.decision",
    ),
    (
        "`TIMELINE`",
        "timeline.acme.tenant.alice.scheduled.function",
    ),
    (
        "`TIMERS`",
        "timer.set.acme.function.0190d6c2-2f7a-7bbb-8a4e-4a9a7d1b2c3d",
    ),
    (
        "`TIMERS`",
        "timer.due.acme.function.0190d6c2-2f7a-7bbb-8a4e-4a9a7d1b2c3d",
    ),
    ("`CHECKPOINTS`", "ledger.checkpoint.acme"),
    ("`QUARANTINE`", "quarantine._.invalid_address"),
    ("service `logline`", "logline.publish.acme.alice.activity"),
    ("service `logline`", "logline.replay.acme.alice"),
];

const TOKENS: [&str; 6] = [
    "alice",
    "employee@company.com",
    "50% *off*",
    "_",
    "edge:run_code",
    "müller\u{a0}gmbh",
];

/// The page `docs/subjects.md`.
#[must_use]
pub fn page() -> String {
    let mut page = INTRODUCTION.to_owned();
    page.push_str("\n## Forms\n\n| form | carried by | example |\n| --- | --- | --- |\n");
    for (carrier, example) in FORMS {
        let form = example
            .parse()
            .map_or("", |subject: Subject| subject.template());
        // Writing to a string cannot fail.
        let _ = writeln!(page, "| `{}` | {carrier} | `{example}` |", angled(form));
    }
    page.push_str("\n## Tokens\n\n| text | token |\n| --- | --- |\n");
    for text in TOKENS {
        let _ = writeln!(page, "| `{text}` | `{}` |", super::token::encoded(text));
    }
    page.push_str("\n## Filters\n\n| wanted | filter |\n| --- | --- |\n");
    for (wanted, filter) in filters() {
        let _ = writeln!(page, "| {wanted} | `{filter}` |");
    }
    page
}

fn angled(template: &str) -> String {
    template.replace('{', "<").replace('}', ">")
}

fn filters() -> Vec<(&'static str, Filter)> {
    let all = Filter::timeline();
    let mut filters = vec![("everything", all.clone())];
    if let (Ok(acme), Ok(law)) = ("acme".parse(), "law".parse()) {
        filters.push((
            "every law event of a tenant",
            all.clone().tenant(acme).entity_group(law),
        ));
    }
    if let (Ok(scheduled), Ok(function)) = ("scheduled".parse(), "function".parse()) {
        let wanted = all.clone().status(Some(scheduled)).entity_type(function);
        filters.push(("what the observer wants", wanted));
    }
    if let (Ok(acme), Ok(alice)) = ("acme".parse(), "employee@company.com".parse()) {
        let own = all
            .clone()
            .tenant(acme)
            .visibility(logline_span::Visibility::Private)
            .owner(alice);
        filters.push(("a person's own", own));
    }
    filters.push(("without a status", all.status(None)));
    filters
}
