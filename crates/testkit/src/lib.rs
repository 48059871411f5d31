//! logline-testkit.
