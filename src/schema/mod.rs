//! What a table looks like, and how two tables relate. Pure.

pub mod binlog_row;
mod binlog_value;
pub mod key;
pub mod mapping;
pub mod privileges;
pub mod table;
