//! logline-sandbox.
