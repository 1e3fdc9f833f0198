//! `dunlin get|put|delete|scan`.

use super::{Format, Target};
use clap::Args;

#[derive(Args, Debug)]
#[command(
    after_help = "Example: dunlin get alice\nExit status 1 when there is no such key. Concurrent values are printed one a line."
)]
pub struct GetArgs {
    /// The key
    pub key: String,
    #[command(flatten)]
    pub target: Target,
    /// text or json
    #[arg(long, value_enum, default_value_t = Format::Text)]
    pub format: Format,
}

#[derive(Args, Debug)]
#[command(after_help = "Example: dunlin put alice '3 apples' --consistency ALL")]
pub struct PutArgs {
    /// The key
    pub key: String,
    /// The value
    pub value: String,
    /// Supersede exactly what this context has seen
    #[arg(long)]
    pub context: Option<String>,
    #[command(flatten)]
    pub target: Target,
}

#[derive(Args, Debug)]
#[command(after_help = "Example: dunlin delete alice")]
pub struct DeleteArgs {
    /// The key
    pub key: String,
    #[command(flatten)]
    pub target: Target,
}

#[derive(Args, Debug)]
#[command(after_help = "Example: dunlin scan --table shop.baskets --limit 100")]
pub struct ScanArgs {
    #[command(flatten)]
    pub target: Target,
    /// Stop after this many rows
    #[arg(long)]
    pub limit: Option<u64>,
    /// text or json (one object a line)
    #[arg(long, value_enum, default_value_t = Format::Text)]
    pub format: Format,
}
