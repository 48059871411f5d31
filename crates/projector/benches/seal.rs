//! Sealing.
fn main() {}
