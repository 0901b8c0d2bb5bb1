//! Which tables a DDL statement would change.

use crate::ids::TableName;

/// The tables that a DDL statement changes; unqualified names belong to `default_schema`. Empty where it is no DDL on tables.
pub fn targets(_text: &[u8], _default_schema: &str) -> Vec<TableName> {
    Vec::new()
}
