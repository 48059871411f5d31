//! Renders `docs/subjects.md`.

/// The page `docs/subjects.md`.
#[must_use]
pub fn page() -> String {
    String::new()
}
