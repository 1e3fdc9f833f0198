//! Both file systems keep the same words; the one in memory forgets what it may and nothing else.

use dunlin_storage::fs::memory::{Fault, MemFs, OperationKind};
use dunlin_storage::fs::{
    AlignedBuffer, Fs, OpenMode, OsFs, conformance, create_dirs, read_file, replace_file,
};
use std::collections::BTreeSet;
use std::io::ErrorKind;

#[test]
fn memory_conforms() {
    conformance::check(&MemFs::new());
    let cached = MemFs::new();
    cached.set_direct(false);
    conformance::check(&cached);
}

#[test]
fn os_conforms() {
    let dir = tempfile::tempdir().expect("a folder");
    conformance::check(&OsFs::new(dir.path().join("data")).expect("create"));
}

/// Some kernels have no direct writes here: nobody may notice.
#[test]
fn os_conforms_on_a_file_system_in_memory() {
    let Ok(dir) = tempfile::tempdir_in("/dev/shm") else {
        return;
    };
    conformance::check(&OsFs::new(dir.path().join("data")).expect("create"));
}

/// Contents of file `f` that crashes leave, over many seeds.
fn outcomes(prepare: impl Fn(&MemFs)) -> BTreeSet<Option<Vec<u8>>> {
    (0..400)
        .map(|seed| {
            let fs = MemFs::new();
            prepare(&fs);
            fs.crash(seed);
            read_file(&fs, "f").ok()
        })
        .collect()
}

fn some(bytes: &[u8]) -> Option<Vec<u8>> {
    Some(bytes.to_vec())
}

#[test]
fn synced_bytes_of_a_synced_name_survive() {
    let all = outcomes(|fs| {
        let file = fs.open("f", OpenMode::CreateNew).expect("create");
        file.write_at(0, b"abc").expect("write");
        file.sync().expect("sync");
        fs.sync_dir("").expect("sync");
    });
    assert_eq!(all, BTreeSet::from([some(b"abc")]));
}

#[test]
fn unsynced_bytes_may_go_in_parts() {
    let all = outcomes(|fs| {
        let file = fs.open("f", OpenMode::CreateNew).expect("create");
        file.write_at(0, &[1; 512]).expect("write");
        file.sync().expect("sync");
        fs.sync_dir("").expect("sync");
        file.write_at(0, &[2; 1024]).expect("write");
        file.write_at(1024, &[3; 512]).expect("write");
    });
    let shape = |parts: &[u8]| Some(parts.iter().flat_map(|&b| [b; 512]).collect::<Vec<u8>>());
    for expected in [&[1u8][..], &[2], &[2, 2], &[2, 2, 3], &[1, 2], &[1, 0, 3], &[2, 0, 3]] {
        assert!(all.contains(&shape(expected)), "{expected:?} never happened");
    }
    assert!(
        all.iter().flatten().all(|bytes| bytes.chunks(512).all(|s| s.iter().all(|b| *b == s[0]))),
        "a sector is whole"
    );
}

/// Sectors of one byte each.
fn sectors(parts: &[u8]) -> AlignedBuffer {
    let mut buffer = AlignedBuffer::new();
    parts.iter().for_each(|&part| buffer.extend_from_slice(&[part; 512]));
    buffer
}

#[test]
fn direct_synced_writes_are_durable_alone() {
    let prepare = |direct: bool| {
        move |fs: &MemFs| {
            fs.set_direct(direct);
            replace_file(fs, "f", &sectors(&[1, 1, 1])).expect("replace");
            let plain = fs.open("f", OpenMode::Write).expect("open");
            plain.write_at(0, &[2; 1024]).expect("write");
            let file = fs.open("f", OpenMode::Direct).expect("open");
            file.write_synced_at(512, &sectors(&[3])).expect("write");
        }
    };
    let parts = |parts: &[u8]| some(&sectors(parts));
    assert_eq!(outcomes(prepare(true)), BTreeSet::from([parts(&[1, 3, 1]), parts(&[2, 3, 1])]));
    assert_eq!(outcomes(prepare(false)), BTreeSet::from([parts(&[2, 3, 1])]), "a sync of everything");
}

#[test]
fn direct_writes_that_are_not_aligned_are_refused() {
    let fs = MemFs::new();
    replace_file(&fs, "f", &[1; 4096]).expect("replace");
    let file = fs.open("f", OpenMode::Direct).expect("open");
    assert_eq!(file.block_bytes(), 512);
    let bytes = sectors(&[2, 2, 2]);
    for (offset, bytes) in [(1, &bytes[..512]), (512, &bytes[..100]), (512, &bytes[8..520])] {
        let refused = file.write_synced_at(offset, bytes).err().map(|e| e.kind());
        assert_eq!(refused, Some(ErrorKind::InvalidInput));
    }
    assert_eq!(read_file(&fs, "f").expect("read"), [1; 4096]);
}

#[test]
fn a_failed_direct_write_shows_what_is_on_the_disk() {
    let mut all = BTreeSet::new();
    for (seed, kind) in (0..200).flat_map(|seed| [(seed, 1), (seed, 2)]) {
        let fs = MemFs::new();
        (0..seed).for_each(|_| replace_file(&fs, "other", b"").expect("replace"));
        replace_file(&fs, "f", &sectors(&[1, 1])).expect("replace");
        let file = fs.open("f", OpenMode::Direct).expect("open");
        fs.fail_at(fs.operations() + kind, Fault::Error(ErrorKind::Other));
        assert!(file.write_synced_at(0, &sectors(&[2, 2])).is_err());
        let seen = read_file(&fs, "f").expect("read");
        if kind == 2 {
            fs.crash(seed);
            assert_eq!(read_file(&fs, "f").expect("read"), seen);
            all.insert(seen);
        }
    }
    let expected = [[1, 1], [1, 2], [2, 1], [2, 2]].map(|parts| sectors(&parts).to_vec());
    assert_eq!(all, BTreeSet::from(expected));
}

#[test]
fn a_direct_write_is_torn_when_the_power_goes_in_it() {
    let all = outcomes(|fs| {
        replace_file(fs, "f", &sectors(&[1, 1])).expect("replace");
        let file = fs.open("f", OpenMode::Direct).expect("open");
        fs.fail_at(fs.operations() + 2, Fault::Stop);
        assert!(file.write_synced_at(0, &sectors(&[2, 2])).is_err());
    });
    assert_eq!(all, BTreeSet::from([[1, 1], [1, 2], [2, 1], [2, 2]].map(|parts| some(&sectors(&parts)))));
}

#[test]
fn links_are_names() {
    let link = |synced: bool| {
        outcomes(move |fs| {
            replace_file(fs, "old", b"x").expect("replace");
            fs.hard_link("old", "f").expect("link");
            fs.remove("old").expect("remove");
            if synced {
                fs.sync_dir("").expect("sync");
            }
        })
    };
    assert_eq!(link(true), BTreeSet::from([some(b"x")]));
    assert_eq!(link(false), BTreeSet::from([None, some(b"x")]));
    let fs = MemFs::new();
    fs.set_capacity(Some(10));
    replace_file(&fs, "f", b"12345678").expect("replace");
    fs.hard_link("f", "g").expect("link");
    assert_eq!(fs.space().expect("space").free_bytes, 2, "a file of two names takes room once");
}

#[test]
fn unsynced_names_may_go() {
    let all = outcomes(|fs| {
        replace_file(fs, "f", b"old").expect("replace");
        let file = fs.open("f.tmp", OpenMode::CreateNew).expect("create");
        file.write_at(0, b"new").expect("write");
        file.sync().expect("sync");
        fs.rename("f.tmp", "f").expect("rename");
    });
    assert_eq!(all, BTreeSet::from([some(b"old"), some(b"new")]));
    let lost = outcomes(|fs| {
        fs.create_dir("d").expect("create");
        replace_file(fs, "d/f", b"x").expect("replace");
        fs.open("f", OpenMode::CreateNew).expect("create");
    });
    assert_eq!(lost, BTreeSet::from([None, some(b"")]));
    for seed in 0..50 {
        let fs = MemFs::new();
        fs.create_dir("d").expect("create");
        replace_file(&fs, "d/f", b"x").expect("replace");
        fs.crash(seed);
        let there = fs.list("").expect("list").iter().any(|e| e.name == "d");
        assert_eq!(read_file(&fs, "d/f").is_ok(), there, "a file needs its folder's name");
        let fs = MemFs::new();
        create_dirs(&fs, "d/e").expect("create");
        replace_file(&fs, "d/e/f", b"x").expect("replace");
        fs.crash(seed);
        assert_eq!(read_file(&fs, "d/e/f").expect("durable"), b"x");
    }
}

#[test]
fn a_failed_sync_lies_afterwards() {
    let mut gone = 0;
    for seed in 0..40 {
        let fs = MemFs::new();
        replace_file(&fs, "f", b"old").expect("replace");
        let file = fs.open("f", OpenMode::Write).expect("open");
        for _ in 0..seed {
            file.length().expect("length");
            replace_file(&fs, "other", b"").expect("replace");
        }
        file.write_at(0, b"new").expect("write");
        fs.fail_at(fs.operations() + 1, Fault::Error(ErrorKind::Other));
        assert!(file.sync().is_err());
        assert!(file.sync().is_ok(), "the second sync has nothing left to do");
        assert_eq!(read_file(&fs, "f").expect("read"), b"new", "the cache still has it");
        fs.crash(seed);
        gone += u32::from(read_file(&fs, "f").expect("read") == b"old");
    }
    assert!((1..40).contains(&gone));
}

#[test]
fn kill_keeps_the_cache_and_ends_handles_and_locks() {
    let fs = MemFs::new();
    let file = fs.open("f", OpenMode::CreateNew).expect("create");
    file.write_at(0, b"abc").expect("write");
    let guard = fs.lock("LOCK").expect("lock");
    fs.kill();
    assert!(file.write_at(0, b"x").is_err());
    assert_eq!(read_file(&fs, "f").expect("read"), b"abc");
    let again = fs.lock("LOCK").expect("free");
    drop(guard);
    assert_eq!(fs.lock("LOCK").err().map(|e| e.kind()), Some(ErrorKind::WouldBlock));
    drop(again);
}

#[test]
fn a_full_disk_writes_short() {
    let fs = MemFs::new();
    fs.set_capacity(Some(10));
    let file = fs.open("f", OpenMode::CreateNew).expect("create");
    file.write_at(0, b"12345678").expect("fits");
    assert_eq!(file.write_at(6, b"abcdef").err().map(|e| e.kind()), Some(ErrorKind::StorageFull));
    assert_eq!(read_file(&fs, "f").expect("read"), b"123456abcd");
    assert_eq!(fs.space().expect("space").free_bytes, 0);
    file.write_at(0, b"over").expect("overwriting needs no room");
}

#[test]
fn stops_at_an_operation_and_counts() {
    let fs = MemFs::new();
    replace_file(&fs, "f", b"1").expect("replace");
    fs.fail_at(fs.operations() + 2, Fault::Stop);
    assert!(replace_file(&fs, "f", b"2").is_err());
    assert!(fs.is_stopped() && fs.list("").is_err());
    let copy = fs.fork();
    fs.crash(1);
    assert_eq!(read_file(&fs, "f").expect("read"), b"1");
    assert_eq!(read_file(&copy, "f").expect("a copy is not stopped"), b"1");
    assert_eq!(fs.statistics().operations[&OperationKind::Rename], 1);
    fs.wipe();
    assert_eq!(fs.files(), []);
    fs.restore(&copy);
    assert!(fs.flip_bit("f", 0, 1) && !fs.flip_bit("f", 1, 1));
    assert_eq!(read_file(&fs, "f").expect("read"), b"3");
}
