use super::*;

const REFERENCE: &str = include_str!("../../../../conf/dunlin.toml");

fn parse(text: &str) -> Result<Config, ConfigError> {
    Config::parse("dunlin.toml", text, &[])
}

fn check_error(text: &str, expected: &str) {
    let error = parse(text).unwrap_err().to_string();
    assert!(error.contains(expected), "{error:?} does not say {expected:?}");
}

#[test]
fn the_reference_file_equals_the_defaults_and_names_every_key() {
    assert_eq!(parse(REFERENCE).unwrap(), Config::default());
    let written: toml::Table = REFERENCE.parse().unwrap();
    for (section, keys) in keys::known() {
        for key in keys.as_table().unwrap().keys() {
            assert!(written[&section].get(key).is_some(), "conf/dunlin.toml lacks {section}.{key}");
        }
    }
}

#[test]
fn an_empty_file_is_the_defaults() {
    assert_eq!(parse("").unwrap(), Config::default());
}

#[test]
fn round_trip() {
    let mut config = Config::default();
    config.cluster.seeds = vec!["n1:7000".into(), "[::1]:7000".into()];
    config.client.address = "0.0.0.0:9041".into();
    config.client.allow_plaintext = true;
    config.storage.memtable_size = Size::mib(3);
    config.log.format = LogFormat::Json;
    let text = toml::to_string(&config).unwrap();
    assert_eq!(parse(&text).unwrap(), config);
}

#[test]
fn unknown_keys_name_line_and_neighbour() {
    check_error(
        "[cluster]\nnmae = \"x\"\n",
        "dunlin.toml:2: unknown key \"cluster.nmae\"; did you mean \"cluster.name\"?",
    );
    check_error("\n[gosip]\n", "dunlin.toml:2: unknown key \"gosip\"; did you mean \"gossip\"?");
    check_error("[node]\nseeds = []\n", "did you mean \"cluster.seeds\"?");
    check_error("rack = 'a'\n", "did you mean \"node.rack\"?");
    check_error("[cluster]\nfrobnicate = 1\n", "unknown key \"cluster.frobnicate\"");
}

#[test]
fn wrong_types_and_broken_text_name_the_line() {
    check_error("[cluster]\nvnodes = \"many\"\n", "line 2");
    check_error("[cluster\n", "line 1");
    check_error("[storage]\nmemtable_size = \"64 apples\"\n", "64 apples");
}

#[test]
fn values_are_checked() {
    check_error("[cluster]\nvnodes = 100\n", "cluster.vnodes: must be a power of two");
    check_error("[cluster]\nseeds = ['nowhere']\n", "cluster.seeds");
    check_error("[cluster]\nname = ''\n", "cluster.name");
    check_error("[limits]\nconnections = 0\n", "limits.connections");
}

#[test]
fn sizes_of_the_store_fit_together() {
    let check = |text: &str, expected: &str| check_error(&format!("[storage]\n{text}\n"), expected);
    check("memtable_size = 0", "storage.memtable_size: must be 64.0 KiB to 4.0 GiB");
    check("memtable_size = '300 MiB'", "at least twice storage.memtable_size (300.0 MiB)");
    check("log_segment_size = '2 GiB'", "storage.log_segment_size: must be 1.0 MiB to 1.0 GiB");
    check("log_size_max = '100 MiB'", "at least twice storage.log_segment_size (64.0 MiB)");
    check("block_cache_size = 7", "storage.block_cache_size: must be 1.0 MiB");
    check("compaction_threads = 0", "storage.compaction_threads: must be 1 to 64");
    check("compaction_bytes_per_second = '10 KiB'", "must be at least 1 MiB, or 0 for no limit");
    parse("[storage]\ncompaction_bytes_per_second = 0\ncompaction_threads = 4\n").unwrap();
}

#[test]
fn all_that_is_wrong_is_said_at_once() {
    let all = |text: &str, overrides: &[(String, String)]| {
        let (_, wrong) = Config::examine("f", text, overrides);
        wrong.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
    };
    let text =
        all("[node]\nweight = 0\n[limits]\nconnections = 0\n", &[("DUNLIN_NODE__RACKS".into(), "r".into())]);
    for part in ["node.weight: must be 1 or more", "limits.connections", "DUNLIN_NODE__RACKS"] {
        assert!(text.contains(part), "{part} in {text}");
    }
    let text = all("[node]\nracks = 'a'\n[cluster]\nnmae = 'b'\n", &[]);
    let lines: Vec<&str> = text.lines().collect();
    assert!(lines[0].starts_with("f:2:") && lines[1].starts_with("f:4:"), "{text}");
}

#[test]
fn plain_text_to_the_world_has_to_be_asked_for() {
    check_error(
        "[client]\naddress = '0.0.0.0:9041'\n",
        "client.tls = true, or client.allow_plaintext = true",
    );
    parse("[client]\naddress = '0.0.0.0:9041'\ntls = true\n").unwrap();
    parse("[client]\naddress = '0.0.0.0:9041'\nallow_plaintext = true\n").unwrap();
    parse("[client]\naddress = '127.0.0.7:9041'\n").unwrap();
    parse("[client]\naddress = '[::1]:9041'\n").unwrap();
}

#[test]
fn the_environment_overrides() {
    let set = |pairs: &[(&str, &str)]| {
        let pairs: Vec<(String, String)> =
            pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        Config::parse("f", "[cluster]\nname = 'file'\n", &pairs)
    };
    let config = set(&[
        ("DUNLIN_CLUSTER__SEEDS", "n1:7000, n2:7000"),
        ("DUNLIN_NODE__DATA_DIR", "/var/lib/dunlin"),
        ("DUNLIN_CLUSTER__VNODES", "64"),
        ("DUNLIN_CLIENT__TLS", "true"),
        ("DUNLIN_GOSSIP__PHI_THRESHOLD", "9.5"),
        ("DUNLIN_STORAGE__MEMTABLE_SIZE", "1 MiB"),
    ])
    .unwrap();
    assert_eq!(config.cluster.name, "file");
    assert_eq!(config.cluster.seeds, ["n1:7000", "n2:7000"]);
    assert_eq!(config.node.data_dir, Path::new("/var/lib/dunlin"));
    assert_eq!((config.cluster.vnodes, config.client.tls, config.gossip.phi_threshold), (64, true, 9.5));
    assert_eq!(config.storage.memtable_size, Size::mib(1));
    let error = |pairs| set(pairs).unwrap_err().to_string();
    assert!(error(&[("DUNLIN_CLUSTER__NMAE", "x")]).contains("did you mean DUNLIN_CLUSTER__NAME?"));
    assert!(
        error(&[("DUNLIN_CLUSTER__VNODES", "x")])
            .contains("DUNLIN_CLUSTER__VNODES: \"x\" is not a whole number")
    );
    assert!(error(&[("DUNLIN_CLUSTER__VNODES", "7")]).contains("cluster.vnodes"));
}
