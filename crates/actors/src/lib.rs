//! logline-actors.
