//! logline.
fn main() {}
