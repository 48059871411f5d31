//! logline-loadtest.
fn main() {}
