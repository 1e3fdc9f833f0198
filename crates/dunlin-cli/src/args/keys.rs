//! `dunlin get|put|delete|scan`.

use super::{Format, Target};
use clap::Args;
use std::time::Duration;

#[derive(Args, Debug)]
#[command(
    after_help = "Examples: dunlin get alice\n          dunlin get -- --strange-key\nExit status 1 when there is no such key. Concurrent values are printed one a line.\n\
    --format json gives {\"key\", \"values\", \"context\"}: the context of an absent key too, for a first write on condition that it is absent still."
)]
pub struct GetArgs {
    /// The key
    #[arg(allow_hyphen_values = true)]
    pub key: String,
    #[command(flatten)]
    pub target: Target,
    /// text or json
    #[arg(long, value_enum, default_value_t = Format::Text)]
    pub format: Format,
}

#[derive(Args, Debug)]
#[command(
    after_help = "Examples: dunlin put alice '3 apples' --consistency ALL\n          dunlin put photo @photo.jpg --table shop.photos\n          date | dunlin put now -\n\
    What is read from a file or from standard input is the value, byte for byte; where the column is neither text nor blob, blanks around it are left out.\n\
    --format json gives {\"key\", \"applied\", \"context\"}; the context is good for the next write of this key."
)]
pub struct PutArgs {
    /// The key
    #[arg(allow_hyphen_values = true)]
    pub key: String,
    /// The value; - takes it from standard input, @FILE from a file
    #[arg(allow_hyphen_values = true)]
    pub value: String,
    /// The value is what is written there, be it - or @FILE
    #[arg(long)]
    pub verbatim: bool,
    /// Supersede exactly what this context has seen
    #[arg(long)]
    pub context: Option<String>,
    /// Forget the value after this many seconds; 0: never, whatever the table says
    #[arg(long, value_name = "SECONDS", value_parser = seconds)]
    pub ttl: Option<Duration>,
    #[command(flatten)]
    pub target: Target,
    /// text or json
    #[arg(long, value_enum, default_value_t = Format::Text)]
    pub format: Format,
}

#[derive(Args, Debug)]
#[command(
    after_help = "Example: dunlin delete alice\n--format json gives {\"key\", \"applied\", \"context\"}. There is no error when there is no such key."
)]
pub struct DeleteArgs {
    /// The key
    #[arg(allow_hyphen_values = true)]
    pub key: String,
    /// Supersede exactly what this context has seen
    #[arg(long)]
    pub context: Option<String>,
    #[command(flatten)]
    pub target: Target,
    /// text or json
    #[arg(long, value_enum, default_value_t = Format::Text)]
    pub format: Format,
}

#[derive(Args, Debug)]
#[command(
    after_help = "Example: dunlin scan --table shop.baskets --limit 100\n--timeout is the longest wait for each page."
)]
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

fn seconds(text: &str) -> Result<Duration, String> {
    text.parse().map(Duration::from_secs).map_err(|_| format!("{text:?} is not a whole number of seconds"))
}
