//! Bounds of the language that are nobody else's business.

use std::time::Duration;

/// Options of one `WITH` or entries of one map literal.
pub const OPTIONS_MAX: usize = 64;
/// Columns that a `CREATE TABLE` or `INSERT` may name before the parser gives up; any number but two is INVALID anyway.
pub const COLUMNS_MAX: usize = 64;
/// Items of one `SELECT`.
pub const SELECT_ITEMS_MAX: usize = 64;
/// Nested `<...>` of a column type.
pub const TYPE_NESTING_MAX: usize = 8;
/// Longest name of a keyspace, table or column, bytes.
pub const NAME_BYTES_MAX: usize = 48;
/// Replicas of a key over all data centres.
pub const REPLICAS_MAX: u32 = 32;
/// Longest table comment, bytes.
pub const COMMENT_BYTES_MAX: usize = 4096;
/// Longest `TTL` and `default_time_to_live`, seconds: twenty years.
pub const TTL_S_MAX: u32 = 20 * 365 * 86_400;
/// Longest `USING TIMEOUT`: no message of a statement lives longer (deletions are forgotten by that).
pub const TIMEOUT_MAX: Duration = Duration::from_secs(120);
/// Largest page.
pub const PAGE_ROWS_MAX: u32 = 100_000;
/// Page size of a new session.
pub const PAGE_ROWS_DEFAULT: u32 = 1000;
/// Longest token (context, page) that is looked at, bytes of text.
pub const TOKEN_TEXT_BYTES_MAX: usize = 256 << 10;
/// How much of the offending text an error message repeats, characters.
pub const FOUND_CHARS_MAX: usize = 32;
