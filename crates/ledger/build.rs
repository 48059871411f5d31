//! The migrations are compiled in; a new file among them changes this crate.

fn main() {
    println!("cargo:rerun-if-changed=../../migrations");
}
