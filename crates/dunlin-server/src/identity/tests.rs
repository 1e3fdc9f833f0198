use super::*;
use crate::runtime::TokioRuntime;
use dunlin_storage::fs::MemFs;

fn open(fs: &MemFs) -> Result<Identity, IdentityError> {
    Identity::open(Arc::new(fs.clone()), Path::new("/data"), "c", &TokioRuntime::new())
}

#[test]
fn an_unclean_start_opens_an_incarnation_and_a_clean_one_goes_on() {
    let fs = MemFs::new();
    let first = open(&fs).unwrap();
    assert!(first.first_start());
    let (host, generation) = (first.host(), first.generation());
    assert_eq!(first.actor(), Actor { host, generation });
    drop(first);

    let second = open(&fs).unwrap();
    assert!(!second.first_start());
    assert_eq!(second.host(), host);
    assert!(second.generation() > generation);
    assert_eq!(second.actor().generation, second.generation());
    let actor = second.actor();
    second.stopped_cleanly(41).unwrap();
    drop(second);

    let third = open(&fs).unwrap();
    assert_eq!((third.actor(), third.dots()), (actor, 41));
    drop(third);

    let fourth = open(&fs).unwrap();
    assert_eq!((fourth.actor().generation, fourth.dots()), (fourth.generation(), 0));
}

#[test]
fn a_restored_directory_opens_an_incarnation_after_a_clean_stop_too() {
    let fs = MemFs::new();
    let first = open(&fs).unwrap();
    let actor = first.actor();
    first.stopped_cleanly(41).unwrap();
    drop(first);
    replace_file(&fs, RESTORED, b"").unwrap();
    // As long as the mark is there: a crash before what was lost is noted must not lose it.
    for _ in 0..2 {
        let next = open(&fs).unwrap();
        assert!(next.went_back());
        assert!(next.actor() > actor, "{:?}", next.actor());
        assert_eq!((next.dots(), next.continues()), (0, None));
        next.stopped_cleanly(7).unwrap();
    }
    fs.remove(RESTORED).unwrap();
    assert!(!open(&fs).unwrap().went_back());
}

#[test]
fn a_node_that_lost_data_opens_an_incarnation_however_it_stops() {
    let fs = MemFs::new();
    let first = open(&fs).unwrap();
    first.forgo();
    first.stopped_cleanly(41).unwrap();
    let actor = first.actor();
    drop(first);
    let second = open(&fs).unwrap();
    assert_ne!(second.actor(), actor);
    assert_eq!(second.dots(), 0);
}

#[test]
fn the_second_of_two_is_refused() {
    let fs = MemFs::new();
    let _first = open(&fs).unwrap();
    let error = open(&fs).err().unwrap();
    assert!(matches!(error, IdentityError::InUse(_)), "{error}");
}

#[test]
fn the_cluster_is_remembered() {
    let fs = MemFs::new();
    let cluster = ClusterId::from_words(1, 2);
    let first = open(&fs).unwrap();
    assert_eq!(first.cluster(), None);
    first.set_cluster(cluster).unwrap();
    drop(first);
    assert_eq!(open(&fs).unwrap().cluster(), Some(cluster));
}

fn check_refused(content: &str, expected: &str) {
    let fs = MemFs::new();
    replace_file(&fs, FILE, content.as_bytes()).unwrap();
    let error = open(&fs).err().unwrap().to_string();
    assert!(error.contains(expected), "{error:?} does not say {expected:?}");
}

#[test]
fn foreign_and_damaged_directories_are_refused_by_name() {
    check_refused("format = 2\n", "/data/node.toml has format 2");
    check_refused("", "/data/node.toml is damaged (no format)");
    check_refused("format = [", "is damaged");
    check_refused("format = 1\nhost_id = 'x'\n", "is damaged");
    let other = "format = 1\nhost_id = '00000000-0000-0000-0000-000000000001'\ncluster_name = 'other'\n\
                 cluster_id = '00000000-0000-0000-0000-000000000001'\ngeneration = 1\nincarnation = 1\ndots = 0\nclean = true\n";
    check_refused(other, "belongs to cluster \"other\", this node is configured for \"c\"");
}

#[test]
fn data_without_an_identity_is_refused() {
    let fs = MemFs::new();
    fs.create_dir("commitlog").unwrap();
    let error = open(&fs).err().unwrap().to_string();
    assert!(error.contains("it is missing, but the directory holds commitlog/"), "{error}");
}
