//! The binaries under test, built by the same cargo, profile and target folder as the test itself.

use std::path::PathBuf;
use std::process::Command;
use std::sync::OnceLock;

/// Paths of the two commands.
#[derive(Debug, Clone)]
pub struct Binaries {
    /// `dunlin`.
    pub dunlin: PathBuf,
    /// `nodetool`.
    pub nodetool: PathBuf,
}

/// Builds both commands once for this test process (a moment when they are fresh) and says where they are.
pub fn binaries() -> &'static Binaries {
    static BUILT: OnceLock<Binaries> = OnceLock::new();
    BUILT.get_or_init(|| {
        // .../target/<profile>/deps/<test>-<hash>
        let test = std::env::current_exe().expect("a test knows its own path");
        let profile_dir = test.ancestors().nth(2).expect("tests run from target/<profile>/deps").to_owned();
        let target_dir = profile_dir.parent().expect("a target folder").to_owned();
        let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
        cargo.args(["build", "--quiet", "--locked", "--bins", "-p", "dunlin-cli", "-p", "dunlin-nodetool"]);
        cargo.arg("--manifest-path").arg(concat!(env!("CARGO_MANIFEST_DIR"), "/../Cargo.toml"));
        cargo.env("CARGO_TARGET_DIR", &target_dir);
        if profile_dir.file_name().is_some_and(|name| name == "release") {
            cargo.arg("--release");
        }
        let status = cargo.status().expect("cargo runs");
        assert!(status.success(), "building the commands failed");
        Binaries { dunlin: profile_dir.join("dunlin"), nodetool: profile_dir.join("nodetool") }
    })
}
