//! What a table looks like, and how two tables relate. Pure.

pub mod privileges;
