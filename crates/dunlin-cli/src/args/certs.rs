//! `dunlin certs`.

use clap::{Args, Subcommand};
use std::path::PathBuf;

#[derive(Args, Debug)]
#[command(
    after_help = "Example: dunlin certs init --dir certs && dunlin certs issue n1 --san 10.0.0.5 --dir certs"
)]
pub struct CertsArgs {
    #[command(subcommand)]
    pub verb: CertsVerb,
}

#[derive(Subcommand, Debug)]
pub enum CertsVerb {
    /// Make the cluster's certificate authority: ca.crt and ca.key (keep the key away from the nodes)
    Init {
        /// Folder for the files
        #[arg(long, default_value = "certs")]
        dir: PathBuf,
    },
    /// Make a node's certificate and key, signed by the authority in the folder
    Issue {
        /// The node's name, as in [node] name of its configuration
        name: String,
        /// Further host names or addresses the certificate is good for
        #[arg(long = "san", value_name = "NAME|IP")]
        sans: Vec<String>,
        /// Folder with ca.crt and ca.key; the node's files go there too
        #[arg(long, default_value = "certs")]
        dir: PathBuf,
    },
}
