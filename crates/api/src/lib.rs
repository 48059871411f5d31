//! logline-api.
