//! logline-span.
