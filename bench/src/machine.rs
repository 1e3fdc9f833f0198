//! On what a run was made.

use std::fmt::Write;
use std::fs;
use std::path::Path;
use std::process::Command;

/// Names the processors, memory, kernel, file system and the versions of what is compared, in Markdown.
pub fn describe(dir: &Path) -> String {
    let cpu = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = cpu.lines().find(|l| l.starts_with("model name")).and_then(|l| l.split_once(": "));
    let memory = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let memory = memory.split_whitespace().nth(1).and_then(|n| n.parse::<u64>().ok()).unwrap_or_default();
    let cores = std::thread::available_parallelism().map_or(0, |n| n.get());
    let mut text = format!(
        "Machine: {cores} × {}, {} GiB, {}; data on {}. Dunlin at commit {}",
        model.map_or("unknown", |(_, name)| name),
        memory.div_ceil(1 << 20),
        said("uname", &["-sr"]),
        said("findmnt", &["-n", "-o", "FSTYPE", "-T", &dir.to_string_lossy()]),
        said("git", &["rev-parse", "--short", "HEAD"]),
    );
    for name in ["rocksdb", "librocksdb-sys", "fjall", "heed", "mimalloc"] {
        let _ = write!(text, ", {name} {}", locked(name));
    }
    text + "."
}

fn said(command: &str, arguments: &[&str]) -> String {
    let output = Command::new(command).args(arguments).output();
    let output = output.ok().filter(|o| o.status.success()).map(|o| o.stdout).unwrap_or_default();
    match String::from_utf8_lossy(&output).trim() {
        "" => "unknown".to_owned(),
        said => said.to_owned(),
    }
}

/// The version of a package that this program was built with.
fn locked(name: &str) -> &'static str {
    let lock = include_str!("../Cargo.lock");
    let entry = format!("name = \"{name}\"\nversion = \"");
    lock.split_once(&entry).and_then(|(_, rest)| rest.split('"').next()).unwrap_or("unknown")
}

#[cfg(test)]
mod tests {
    #[test]
    fn peers_are_named_with_their_versions() {
        let text = super::describe(std::path::Path::new("."));
        assert!(text.contains("fjall 3."), "{text}");
        assert!(text.contains("rocksdb 0."), "{text}");
    }
}
