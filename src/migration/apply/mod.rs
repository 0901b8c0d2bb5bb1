//! Makes shadow[key] equal to source[key] for every key that the log mentions.

pub mod overlap;
pub mod pending;
