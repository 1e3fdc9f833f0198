//! The command and a real node whose client port speaks TLS.

// Real processes, sockets, threads and files are what is tested.
#![allow(clippy::disallowed_methods, clippy::unwrap_used, missing_docs)]

mod scripted;
mod served;

use scripted::{command, dunlin, outcome};
use served::Node;
use std::time::{Duration, Instant};

/// Runs a verb until it succeeds, for a node that has just started.
fn in_time(arguments: &[&str]) {
    let until = Instant::now() + Duration::from_secs(60);
    loop {
        let (status, out, err) = outcome(&dunlin(arguments));
        if status == 0 {
            return;
        }
        assert!(Instant::now() < until, "{arguments:?}: {out}{err}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn every_client_verb_speaks_tls_or_says_that_it_has_to() {
    let node = Node::start("tls = true");
    let (host, ca) = (node.host.as_str(), node.certificate("ca.crt"));
    let rows = node.dir.path().join("rows.csv");
    std::fs::write(&rows, "alice,3 apples\n").unwrap();
    let rows = rows.to_str().unwrap();
    in_time(&["put", "alice", "3 apples", "--host", host, "--tls-ca", &ca]);
    for verb in [
        &["put", "bob", "1"][..],
        &["get", "alice"],
        &["scan"],
        &["delete", "bob"],
        &["verify", rows],
        &["shell", "-e", "SELECT * FROM kv"],
        &["shell", "-e", "SHOW VERSION"],
        &["bench", "--seconds", "0.01", "--clients", "1", "--keys", "3"],
    ] {
        let to = [verb, &["--host", host]].concat();
        for option in ["--tls-ca", "--tls"] {
            let (status, out, err) = outcome(&dunlin(&[&to, &[option, ca.as_str()][..]].concat()));
            assert_eq!(status, 0, "{verb:?} {option}: {out}{err}");
        }
        let by_environment = command(&to).env("DUNLIN_TLS_CA", &ca).output().unwrap();
        assert_eq!(outcome(&by_environment).0, 0, "{verb:?}: {by_environment:?}");
        let (status, out, err) = outcome(&dunlin(&to));
        assert_eq!((status, out.as_str(), err.lines().count()), (1, "", 1), "{verb:?}: {err}");
        assert!(err.contains("TLS") && err.contains("--tls-ca"), "{verb:?}: {err}");
    }
}

#[test]
fn what_is_wrong_with_tls_is_said_in_a_line() {
    let node = Node::start("tls = true");
    let (host, ca) = (node.host.as_str(), node.certificate("ca.crt"));
    in_time(&["put", "k", "v", "--host", host, "--tls-ca", &ca]);
    let foreign = tempfile::tempdir().unwrap();
    dunlin_transport::certs::init_ca(foreign.path()).unwrap();
    let foreign = foreign.path().join("ca.crt").to_str().unwrap().to_owned();
    let (cert, key) = (node.certificate("n1.crt"), node.certificate("n1.key"));
    let port = host.rsplit_once(':').unwrap().1;
    let plain = Node::plain();
    for (host, options, part) in [
        (host, &["--tls-ca", foreign.as_str()][..], "not issued by the authority that is trusted (--tls-ca)"),
        (host, &["--tls-ca", "/nonexistent"], "/nonexistent"),
        (host, &["--tls-ca", &key], "no certificate in it"),
        (host, &["--tls-cert", &cert, "--tls-key", &key], "--tls-ca FILE"),
        (host, &["--tls-ca", &ca, "--tls-cert", &cert], "give both --tls-cert and --tls-key"),
        (host, &["--tls-ca", &ca, "--tls-server-name", "n2"], "give one of these with --tls-server-name"),
        (&format!("localhost:{port}"), &["--tls-ca", &ca], "give one of these with --tls-server-name"),
        (&plain.host, &["--tls-ca", &ca], "does not speak TLS on this port"),
    ] {
        let (status, out, err) = outcome(&dunlin(&[&["get", "k", "--host", host], options].concat()));
        assert_eq!((status, out.as_str(), err.lines().count()), (1, "", 1), "{options:?}: {err}");
        assert!(err.contains(part), "{options:?}: {err}");
    }
    // A name that the certificate is for does, whatever was dialled.
    let named = ["get", "k", "--host", host, "--tls-ca", &ca, "--tls-server-name", "n1"];
    assert_eq!(outcome(&dunlin(&named)), (0, "v\n".to_owned(), String::new()));
    let (status, _, err) = outcome(&dunlin(&["get", "k", "--tls"]));
    assert!(status == 2 && err.contains("--tls-ca <FILE>"), "{err}");
}

#[test]
fn the_file_of_the_user_says_how_the_cluster_is_reached() {
    let node = Node::start("tls = true");
    let (host, ca) = (node.host.as_str(), node.certificate("ca.crt"));
    in_time(&["put", "k", "v", "--host", host, "--tls-ca", &ca]);
    let home = tempfile::tempdir().unwrap();
    let folder = home.path().join(".config").join("dunlin");
    std::fs::create_dir_all(&folder).unwrap();
    std::fs::copy(&ca, folder.join("ca.crt")).unwrap();
    let file = folder.join("client.toml");
    let text = |tls: &str| format!("hosts = [\"{host}\"]\ntimeout = 20\n[tls]\n{tls}\n");
    let get = |variables: &[(&str, &str)]| {
        let mut command = command(&["get", "k"]);
        command.env_remove("XDG_CONFIG_HOME").env("HOME", home.path()).envs(variables.iter().copied());
        outcome(&command.output().unwrap())
    };
    // A path is taken from where the file is.
    std::fs::write(&file, text("ca = \"ca.crt\"")).unwrap();
    assert_eq!(get(&[]), (0, "v\n".to_owned(), String::new()));
    // The environment comes before the file.
    let (status, _, err) = get(&[("DUNLIN_TLS_CA", "/nonexistent")]);
    assert!(status == 1 && err.contains("/nonexistent"), "{err}");
    std::fs::write(&file, text("authority = \"ca.crt\"")).unwrap();
    let (status, _, err) = get(&[]);
    assert!(status == 1 && err.contains("client.toml:4: unknown key \"tls.authority\""), "{err}");
}
