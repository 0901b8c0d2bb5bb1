//! Capability flags, and which of them the proxy cannot carry.
//!
//! The low 32 bits are MySQL's; the high 32 are MariaDB's extension, shifted, so that one `u64` holds what was negotiated.

/// MySQL's LONG_PASSWORD, which MariaDB calls CLIENT_MYSQL: where it is clear, the extension bits below are meant.
pub const CLIENT_MYSQL: u64 = 1;
/// Answer with found rows instead of changed ones.
pub const FOUND_ROWS: u64 = 1 << 1;
/// Longer column flags.
pub const LONG_FLAG: u64 = 1 << 2;
/// The login response names a schema.
pub const CONNECT_WITH_DB: u64 = 1 << 3;
/// zlib compression: each side of the proxy agrees on it for itself.
pub const COMPRESS: u64 = 1 << 5;
/// The protocol of 4.1 and later.
pub const PROTOCOL_41: u64 = 1 << 9;
/// TLS: each side of the proxy agrees on it for itself.
pub const SSL: u64 = 1 << 11;
/// Status flags are sent.
pub const TRANSACTIONS: u64 = 1 << 13;
/// Authentication of 4.1 and later.
pub const SECURE_CONNECTION: u64 = 1 << 15;
/// Several statements in one COM_QUERY.
pub const MULTI_STATEMENTS: u64 = 1 << 16;
/// Several results for one statement.
pub const MULTI_RESULTS: u64 = 1 << 17;
/// Several results for one prepared statement.
pub const PS_MULTI_RESULTS: u64 = 1 << 18;
/// Authentication plugins are named.
pub const PLUGIN_AUTH: u64 = 1 << 19;
/// The login response carries attributes.
pub const CONNECT_ATTRS: u64 = 1 << 20;
/// The login response's proof has a length-encoded length.
pub const PLUGIN_AUTH_LENENC: u64 = 1 << 21;
/// OK packets carry changes of the session's state.
pub const SESSION_TRACK: u64 = 1 << 23;
/// Result sets end with an OK instead of an EOF.
pub const DEPRECATE_EOF: u64 = 1 << 24;
/// Column definitions may be left out (MySQL).
pub const OPTIONAL_RESULTSET_METADATA: u64 = 1 << 25;
/// zstd compression: each side of the proxy agrees on it for itself.
pub const ZSTD: u64 = 1 << 26;
/// COM_QUERY carries attributes before its text.
pub const QUERY_ATTRIBUTES: u64 = 1 << 27;
/// MariaDB: progress packets that look like errors.
pub const MARIADB_PROGRESS: u64 = 1 << 32;
/// MariaDB: several commands in one packet; never offered, so masked.
pub const MARIADB_COM_MULTI: u64 = 1 << 33;
/// MariaDB: column definitions may be left out.
pub const MARIADB_CACHE_METADATA: u64 = 1 << 36;

/// What does not pass from one side to the other: agreed on each side for itself, or not carried.
pub const MASKED: u64 = SSL | COMPRESS | ZSTD | MARIADB_COM_MULTI;

/// What the proxy offers in a greeting of its own.
pub const OWN: u64 = CLIENT_MYSQL
    | FOUND_ROWS
    | LONG_FLAG
    | CONNECT_WITH_DB
    | PROTOCOL_41
    | TRANSACTIONS
    | SECURE_CONNECTION
    | MULTI_RESULTS
    | PLUGIN_AUTH
    | CONNECT_ATTRS
    | PLUGIN_AUTH_LENENC
    | SESSION_TRACK
    | DEPRECATE_EOF;
