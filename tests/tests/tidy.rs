//! Rules of the project that neither the compiler nor clippy can see, held as tests.
//!
//! Each rule is a sentence of ARCHITECTURE.md or CONTRIBUTING.md; the failure message repeats it.

#![allow(clippy::disallowed_methods, reason = "a test of the sources reads files")]

use cargo_metadata::{DependencyKind, Metadata, MetadataCommand};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// Layers, lowest first. A crate depends on lower layers only; crates of layer 1 never on each other.
const LAYERS: &[&[&str]] = &[
    &["dunlin-types"],
    &["dunlin-ring", "dunlin-gossip", "dunlin-cql", "dunlin-storage", "dunlin-transport"],
    &["dunlin-replication"],
    &["dunlin-server", "dunlin-client", "dunlin-terminal"],
    &["dunlin-cli", "dunlin-nodetool", "dunlin-sim"],
    &["dunlin-tests"],
];

/// Who may name a crate. A missing row means: anybody.
const CONFINED: &[(&str, &[&str])] = &[
    ("bincode", &["dunlin-transport"]),
    ("quinn", &["dunlin-transport"]),
    ("rustls", &["dunlin-transport"]),
    ("rcgen", &["dunlin-transport"]),
    ("axum", &["dunlin-server"]),
    ("rustyline", &["dunlin-cli"]),
];

/// Crates without I/O: no runtime, no sockets, no files.
const PURE: &[&str] = &["dunlin-types", "dunlin-ring", "dunlin-gossip", "dunlin-cql"];

const FILE_LINES_MAX: usize = 800;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("tests/ is a folder of the workspace").to_owned()
}

/// Of this platform's packages only: those are there when tests run, so nothing is fetched.
fn metadata() -> Metadata {
    let version = std::process::Command::new("rustc").arg("-vV").output().expect("rustc runs").stdout;
    let version = String::from_utf8(version).expect("rustc speaks UTF-8");
    let host = version.lines().find_map(|line| line.strip_prefix("host: ")).expect("rustc names its host");
    MetadataCommand::new()
        .manifest_path(root().join("Cargo.toml"))
        .other_options(["--locked", "--offline", "--filter-platform", host].map(str::to_owned).to_vec())
        .exec()
        .expect("cargo metadata answers")
}

fn layer(name: &str) -> Option<usize> {
    LAYERS.iter().position(|layer| layer.contains(&name))
}

/// Every Rust file of the workspace's own crates, with its text.
fn sources() -> Vec<(PathBuf, String)> {
    fn walk(dir: &Path, out: &mut Vec<(PathBuf, String)>) {
        let mut entries: Vec<_> = std::fs::read_dir(dir)
            .expect("the folder is readable")
            .map(|e| e.expect("entry").path())
            .collect();
        entries.sort();
        for path in entries {
            if path.is_dir() {
                if path.file_name().is_some_and(|n| n != "target") {
                    walk(&path, out);
                }
            } else if path.extension().is_some_and(|e| e == "rs") {
                out.push((path.clone(), std::fs::read_to_string(&path).expect("sources are UTF-8")));
            }
        }
    }
    let mut out = Vec::new();
    walk(&root().join("crates"), &mut out);
    walk(&root().join("tests"), &mut out);
    assert!(out.len() > 50, "the walk found the sources");
    out
}

fn fail_if_any(rule: &str, found: Vec<String>) {
    assert!(found.is_empty(), "{rule}\n  {}", found.join("\n  "));
}

#[test]
fn a_crate_depends_on_lower_layers_only() {
    let metadata = metadata();
    let mut found = Vec::new();
    for package in metadata.workspace_packages() {
        let Some(mine) = layer(&package.name) else {
            found.push(format!("{} stands in no layer", package.name));
            continue;
        };
        for dependency in &package.dependencies {
            if let Some(theirs) = layer(&dependency.name)
                && theirs >= mine
                && dependency.kind == DependencyKind::Normal
            {
                found.push(format!("{} -> {}", package.name, dependency.name));
            }
        }
    }
    fail_if_any("a crate depends on lower layers only", found);
}

#[test]
fn confined_crates_stay_confined() {
    let metadata = metadata();
    let mut found = Vec::new();
    for package in metadata.workspace_packages() {
        for dependency in package.dependencies.iter().filter(|d| d.kind == DependencyKind::Normal) {
            if let Some((_, allowed)) = CONFINED.iter().find(|(name, _)| *name == dependency.name)
                && !allowed.contains(&package.name.as_str())
            {
                found.push(format!("{} names {}; only {allowed:?} may", package.name, dependency.name));
            }
            if PURE.contains(&package.name.as_str())
                && ["tokio", "quinn", "axum", "rustix", "hyper"].contains(&dependency.name.as_str())
            {
                found.push(format!("{} is pure and names {}", package.name, dependency.name));
            }
        }
    }
    fail_if_any("libraries of the edge stay at the edge", found);
}

#[test]
fn files_are_not_too_long() {
    let long = sources()
        .into_iter()
        .map(|(path, text)| (path, text.lines().count()))
        .filter(|(_, lines)| *lines > FILE_LINES_MAX)
        .map(|(path, lines)| format!("{}: {lines} lines", path.display()))
        .collect();
    fail_if_any("past 800 lines a file holds two concepts: split it", long);
}

#[test]
fn every_select_is_biased() {
    let mut found = Vec::new();
    for (path, text) in sources() {
        let needle = concat!("select", "! {");
        for (at, _) in text.match_indices(needle) {
            let body = text[at + needle.len()..].trim_start();
            if !body.starts_with("biased;") {
                let line = text[..at].lines().count();
                found.push(format!("{}:{line}", path.display()));
            }
        }
    }
    fail_if_any("every select! starts with `biased;`: a random branch breaks replay", found);
}

#[test]
fn files_are_touched_behind_the_fs_seam_only() {
    // Edges that never run in the simulator, and tests.
    let allowed = [
        "crates/dunlin-storage/src/fs/",
        "crates/dunlin-transport/src/certs",
        "crates/dunlin-transport/src/quic",
        "crates/dunlin-transport/src/tls/check",
        "crates/dunlin-server/src/config",
        "crates/dunlin-server/src/run",
        "crates/dunlin-server/src/admin",
        "crates/dunlin-cli/",
        "crates/dunlin-nodetool/",
        "crates/dunlin-sim/src/cli/",
        "tests/",
    ];
    let mut found = Vec::new();
    for (path, text) in sources() {
        let relative = path.strip_prefix(root()).expect("below the root").to_string_lossy().into_owned();
        if allowed.iter().any(|prefix| relative.starts_with(prefix))
            || relative.contains("/tests/")
            || relative.contains("/examples/")
        {
            continue;
        }
        let code = text.split("#[cfg(test)]\nmod ").next().unwrap_or_default();
        for (number, line) in code.lines().enumerate() {
            let line = line.trim_start();
            if !line.starts_with("//") && (line.contains("std::fs") || line.contains("tokio::fs")) {
                found.push(format!("{relative}:{}", number + 1));
            }
        }
    }
    fail_if_any("std::fs only behind the Fs seam (dunlin_storage::fs)", found);
}

#[test]
fn nothing_is_left_undone_or_ignored() {
    let marks = [
        concat!("todo", "!("),
        concat!("unimplemented", "!("),
        concat!("#[", "ignore"),
        concat!("FIX", "ME"),
        concat!("XX", "X"),
    ];
    let mut found = Vec::new();
    for (path, text) in sources() {
        for (number, line) in text.lines().enumerate() {
            if marks.iter().any(|mark| line.contains(mark)) {
                found.push(format!("{}:{}: {}", path.display(), number + 1, line.trim()));
            }
        }
    }
    fail_if_any("no stub, no ignored test", found);
}

#[test]
fn every_crate_says_what_it_is_for() {
    let mut found = Vec::new();
    for package in metadata().workspace_packages() {
        for target in &package.targets {
            let text = std::fs::read_to_string(&target.src_path).expect("targets have a source");
            if !text.starts_with("//!") {
                found.push(target.src_path.to_string());
            }
        }
        if package.rust_version.is_none() || package.license.as_deref() != Some("Apache-2.0") {
            found.push(format!("{}: rust-version and license come from the workspace", package.name));
        }
    }
    fail_if_any("every target starts with a comment that says what it is for", found);
}

#[test]
fn allowances_give_their_reason() {
    let mut found = Vec::new();
    for (path, text) in sources() {
        let lines: Vec<&str> = text.lines().collect();
        for (number, line) in lines.iter().enumerate() {
            if !line.contains(concat!("allow(clippy::", "disallowed")) {
                continue;
            }
            let near = &lines[number.saturating_sub(3)..(number + 2).min(lines.len())];
            if !near.iter().any(|l| l.contains("reason") || l.trim_start().starts_with("//")) {
                found.push(format!("{}:{}", path.display(), number + 1));
            }
        }
    }
    fail_if_any("an exception to the ban list says why", found);
}

#[test]
fn versions_are_pinned_in_the_root_manifest() {
    let mut found = Vec::new();
    for package in metadata().workspace_packages() {
        let text = std::fs::read_to_string(&package.manifest_path).expect("manifests are readable");
        let dependencies = text.split("dependencies]").skip(1);
        for section in dependencies {
            for line in section.lines().take_while(|l| !l.starts_with('[')) {
                if line.contains('=') && !line.contains("workspace = true") {
                    found.push(format!("{}: {line}", package.manifest_path));
                }
            }
        }
    }
    fail_if_any("a dependency's version stands in the root manifest", found);
}

/// The lists of deny.toml, so that a machine without cargo-deny holds them too.
fn deny_list(after: &str) -> Vec<String> {
    let text = std::fs::read_to_string(root().join("deny.toml")).expect("deny.toml is there");
    let section = text.split(after).nth(1).expect("the section is there");
    let list = &section[..section.find("\n]").expect("the list ends")];
    list.split('"').skip(1).step_by(2).map(str::to_owned).collect()
}

#[test]
fn licences_are_allowed() {
    let allowed: BTreeSet<String> = deny_list("allow = [").into_iter().collect();
    assert!(allowed.contains("MIT"));
    let mut found = Vec::new();
    for package in &metadata().packages {
        let Some(expression) = &package.license else {
            found.push(format!("{} names no licence", package.name));
            continue;
        };
        // A choice (OR, and the old slash) needs one allowed side; AND needs all of them.
        let ok = expression
            .replace('/', " OR ")
            .split(" OR ")
            .any(|side| side.replace(['(', ')'], "").split(" AND ").all(|one| allowed.contains(one.trim())));
        if !ok {
            found.push(format!("{}: {expression}", package.name));
        }
    }
    fail_if_any("a dependency's licence is on the list of deny.toml", found);
}

#[test]
fn banned_and_outdated_crates_are_absent() {
    let text = std::fs::read_to_string(root().join("deny.toml")).expect("deny.toml is there");
    let mut whole = BTreeSet::new();
    let mut floors = BTreeMap::new();
    for line in text.lines().filter(|l| l.trim_start().starts_with("{ crate = ") && !l.contains("wrappers")) {
        let spec = line.split('"').nth(1).expect("a quoted name");
        match spec.split_once("@<") {
            Some((name, version)) => {
                floors.insert(
                    name.to_owned(),
                    cargo_metadata::semver::Version::parse(version).expect("a version"),
                );
            }
            None => {
                whole.insert(spec.to_owned());
            }
        }
    }
    assert!(floors.len() >= 5 && whole.contains("openssl-sys"));
    let mut found = Vec::new();
    for package in &metadata().packages {
        if whole.contains(package.name.as_str())
            || floors.get(package.name.as_str()).is_some_and(|floor| package.version < *floor)
        {
            found.push(format!("{} {}", package.name, package.version));
        }
    }
    fail_if_any("deny.toml bans these", found);
}
