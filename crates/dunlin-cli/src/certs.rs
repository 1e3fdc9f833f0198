//! `dunlin certs init|issue`.

use crate::args::{CertsArgs, CertsVerb};
use dunlin_terminal::say;
use dunlin_transport::certs;
use std::process::ExitCode;

/// Makes what was asked for and says which file goes where.
pub fn run(args: CertsArgs) -> anyhow::Result<ExitCode> {
    match args.verb {
        CertsVerb::Init { dir } => {
            certs::init_ca(&dir)?;
            say!("made {} (every node needs it)", dir.join("ca.crt").display())?;
            say!("made {} (keep it off the nodes: it makes members)", dir.join("ca.key").display())?;
            say!("next: dunlin certs issue NAME --dir {}", dir.display())?;
        }
        CertsVerb::Issue { name, sans, dir } => {
            let files = certs::issue(&dir, &name, &sans)?;
            say!("made {} and {}", files.cert.display(), files.key.display())?;
            say!("in {name}'s configuration:\n[internode]")?;
            say!("ca = {:?}\ncertificate = {:?}\nkey = {:?}", files.ca, files.cert, files.key)?;
        }
    }
    Ok(ExitCode::SUCCESS)
}
