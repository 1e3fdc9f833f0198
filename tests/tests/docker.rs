//! Three nodes in containers from an image built `FROM scratch`: started and queried where a Docker
//! engine is present; says so and passes where there is none.

#![allow(clippy::disallowed_methods, reason = "tests of real processes use real time, files and threads")]

use std::path::Path;
use std::process::{Command, Stdio};

fn has(command: &str, args: &[&str]) -> bool {
    Command::new(command)
        .args(args)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|s| s.success())
}

#[test]
fn three_containers_form_a_cluster_and_answer() {
    if !has("docker", &["info"]) {
        assert!(
            std::env::var_os("DUNLIN_REQUIRE_DOCKER").is_none(),
            "DUNLIN_REQUIRE_DOCKER is set and no engine answers"
        );
        println!("skipped: no Docker engine answers `docker info`");
        return;
    }
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the workspace");
    let output = Command::new("bash").arg(root.join("docker/test.sh")).output().expect("bash runs");
    println!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "docker/test.sh failed");
}
