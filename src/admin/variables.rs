//! The system variables that clients ask for on connecting.

use super::answer::Value;
use super::{Context, SERVER_VERSION};

/// Largest packet that the admin port takes, in bytes.
pub(super) const PACKET_BYTES_MAX: usize = 16 * 1024 * 1024 - 1;

const TEXTS: &[(&str, &str)] = &[
    ("character_set_client", "utf8mb4"),
    ("character_set_connection", "utf8mb4"),
    ("character_set_database", "utf8mb4"),
    ("character_set_results", "utf8mb4"),
    ("character_set_server", "utf8mb4"),
    ("character_set_system", "utf8mb3"),
    ("collation_connection", "utf8mb4_general_ci"),
    ("collation_database", "utf8mb4_general_ci"),
    ("collation_server", "utf8mb4_general_ci"),
    ("default_storage_engine", "InnoDB"),
    ("have_query_cache", "NO"),
    ("have_ssl", "DISABLED"),
    ("init_connect", ""),
    ("license", "Apache-2.0"),
    ("protocol_version", "10"),
    ("query_cache_type", "OFF"),
    ("socket", ""),
    ("sql_mode", "STRICT_TRANS_TABLES,NO_ENGINE_SUBSTITUTION"),
    ("system_time_zone", "UTC"),
    ("time_zone", "+00:00"),
    ("transaction_isolation", "REPEATABLE-READ"),
    ("tx_isolation", "REPEATABLE-READ"),
    ("version_compile_machine", std::env::consts::ARCH),
    ("version_compile_os", std::env::consts::OS),
];

const NUMBERS: &[(&str, u64)] = &[
    ("auto_increment_increment", 1),
    ("auto_increment_offset", 1),
    ("autocommit", 1),
    ("big_tables", 0),
    ("foreign_key_checks", 1),
    ("in_transaction", 0),
    ("interactive_timeout", 28800),
    ("lower_case_table_names", 0),
    ("max_allowed_packet", PACKET_BYTES_MAX as u64),
    ("max_execution_time", 0),
    ("net_buffer_length", 16384),
    ("net_read_timeout", 30),
    ("net_write_timeout", 60),
    ("performance_schema", 0),
    ("query_cache_size", 0),
    ("session_track_gtids", 0),
    ("sql_auto_is_null", 0),
    ("sql_safe_updates", 0),
    ("sql_select_limit", u64::MAX),
    ("transaction_read_only", 0),
    ("tx_read_only", 0),
    ("unique_checks", 1),
    ("wait_timeout", 28800),
];

/// Variables that SHOW VARIABLES writes as ON or OFF.
const SWITCHES: &[&str] = &[
    "autocommit",
    "big_tables",
    "foreign_key_checks",
    "performance_schema",
    "sql_auto_is_null",
    "sql_safe_updates",
    "transaction_read_only",
    "tx_read_only",
    "unique_checks",
];

/// One variable as SELECT @@name gives it.
pub(super) fn value(name: &str, context: &Context, connection_id: u64) -> Option<Value> {
    let name = name.to_lowercase();
    let value = match name.as_str() {
        "version" => SERVER_VERSION.into(),
        "version_comment" => concat!("Tidegate ", env!("CARGO_PKG_VERSION"), " admin; HELP lists the commands").into(),
        "port" => Value::Integer(context.config.load().listen.address.port().into()),
        "hostname" => context.config.load().listen.address.ip().to_string().into(),
        "pseudo_thread_id" => connection_id.into(),
        _ => {
            let text = TEXTS.iter().find(|(known, _)| *known == name).map(|(_, value)| Value::from(*value));
            let number = || NUMBERS.iter().find(|(known, _)| *known == name).map(|(_, value)| Value::Integer(*value));
            return text.or_else(number);
        }
    };
    Some(value)
}

/// All variables by name, as SHOW VARIABLES writes them.
pub(super) fn all(context: &Context, connection_id: u64) -> Vec<(String, String)> {
    let names = TEXTS.iter().map(|(name, _)| *name).chain(NUMBERS.iter().map(|(name, _)| *name));
    let mut all: Vec<_> = names
        .chain(["version", "version_comment", "port", "hostname", "pseudo_thread_id"])
        .filter_map(|name| {
            let value = match value(name, context, connection_id)? {
                Value::Integer(number) if SWITCHES.contains(&name) => if number == 1 { "ON" } else { "OFF" }.to_owned(),
                Value::Integer(number) => number.to_string(),
                Value::Text(text) => text,
                _ => return None,
            };
            Some((name.to_owned(), value))
        })
        .collect();
    all.sort();
    all
}
