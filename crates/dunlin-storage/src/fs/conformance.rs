//! What every [`Fs`] must do, as far as it can be seen without a crash. Panics where it does not.

use super::{AlignedBuffer, DirEntry, Fs, OpenMode, create_dirs, read_exact_at, read_file, replace_file};
use std::io::ErrorKind;

/// Runs the whole suite on an empty file system.
pub fn check(fs: &dyn Fs) {
    files(fs);
    direct_writes(fs);
    names(fs);
    links(fs);
    directories(fs);
    locks(fs);
    let space = fs.space().expect("space");
    assert!(space.free_bytes <= space.total_bytes && space.total_bytes > 0);
}

fn kind<T>(result: std::io::Result<T>) -> Option<ErrorKind> {
    result.err().map(|e| e.kind())
}

fn files(fs: &dyn Fs) {
    assert_eq!(kind(fs.open("a", OpenMode::Read)), Some(ErrorKind::NotFound));
    assert_eq!(kind(fs.open("a", OpenMode::Write)), Some(ErrorKind::NotFound));
    let file = fs.open("a", OpenMode::CreateNew).expect("create");
    assert_eq!(kind(fs.open("a", OpenMode::CreateNew)), Some(ErrorKind::AlreadyExists));
    file.write_at(3, b"defg").expect("write");
    file.write_at(1, b"bc").expect("write");
    assert_eq!(file.length().expect("length"), 7);
    assert_eq!(read_file(fs, "a").expect("read"), b"\0bcdefg");
    let mut buffer = [9u8; 8];
    assert_eq!(file.read_at(4, &mut buffer).expect("read to the end"), 3);
    assert_eq!(&buffer[..4], b"efg\x09");
    assert_eq!(file.read_at(100, &mut buffer).expect("read past the end"), 0);
    assert_eq!(kind(read_exact_at(&*file, 4, 4)), Some(ErrorKind::UnexpectedEof));
    file.set_length(2).expect("cut");
    file.set_length(4).expect("grow");
    assert_eq!(read_file(fs, "a").expect("read"), b"\0b\0\0");
    file.sync().expect("sync");
    let reader = fs.open("a", OpenMode::Read).expect("open");
    assert!(reader.write_at(0, b"x").is_err(), "opened to read");
    let writer = fs.open("a", OpenMode::Write).expect("open");
    writer.write_at(0, b"A").expect("write");
    assert_eq!(read_exact_at(&*reader, 0, 2).expect("handles see one file"), b"Ab");
    fs.open("a", OpenMode::Truncate).expect("truncate");
    assert_eq!(reader.length().expect("length"), 0);
    fs.remove("a").expect("remove");
    writer.write_at(0, b"still").expect("a handle outlives the name");
    assert_eq!(read_exact_at(&*reader, 0, 5).expect("read"), b"still");
    assert_eq!(kind(fs.remove("a")), Some(ErrorKind::NotFound));
    for bad in ["/a", "a/../b", "./a", "a//b", ".."] {
        assert_eq!(kind(fs.open(bad, OpenMode::Truncate)), Some(ErrorKind::InvalidInput), "{bad}");
    }
}

fn direct_writes(fs: &dyn Fs) {
    assert_eq!(kind(fs.open("d", OpenMode::Direct)), Some(ErrorKind::NotFound));
    replace_file(fs, "d", &[1; 10_000]).expect("write");
    let file = fs.open("d", OpenMode::Direct).expect("open");
    assert!(file.block_bytes() == 0 || file.block_bytes().is_power_of_two());
    assert!(file.block_bytes() <= AlignedBuffer::ALIGNMENT);
    let mut bytes = AlignedBuffer::new();
    bytes.extend_from_slice(&[2; 8192]);
    let (reader, plain) =
        (fs.open("d", OpenMode::Read).expect("open"), fs.open("d", OpenMode::Write).expect("open"));
    plain.write_at(0, &[4; 100]).expect("a plain write beside direct ones");
    file.write_at(4096, &bytes[..4096]).expect("within the file");
    file.write_synced_at(8192, &bytes).expect("over its end");
    file.write_synced_at(3 * 8192, &bytes).expect("behind its end");
    file.write_synced_at(0, &[]).expect("nothing");
    plain.write_synced_at(5_000, &[5; 5]).expect("a plain write behind direct ones");
    let found = read_exact_at(&*reader, 0, 4 * 8192).expect("read");
    let expected = [(4, 100), (1, 3_996), (2, 904), (5, 5), (2, 12_288 - 909), (0, 8192), (2, 8192)];
    assert_eq!(found, expected.iter().flat_map(|&(byte, times)| vec![byte; times]).collect::<Vec<u8>>());
    fs.remove("d").expect("remove");
}

fn links(fs: &dyn Fs) {
    create_dirs(fs, "links").expect("create");
    replace_file(fs, "one", b"1").expect("replace");
    fs.hard_link("one", "links/two").expect("link");
    assert_eq!(kind(fs.hard_link("one", "links/two")), Some(ErrorKind::AlreadyExists));
    assert_eq!(kind(fs.hard_link("none", "links/three")), Some(ErrorKind::NotFound));
    assert_eq!(kind(fs.hard_link("one", "nowhere/two")), Some(ErrorKind::NotFound));
    fs.open("links/two", OpenMode::Write).expect("open").write_at(1, b"2").expect("write");
    assert_eq!(read_file(fs, "one").expect("read"), b"12", "one file");
    fs.rename("one", "links/two").expect("rename over itself");
    assert_eq!(read_file(fs, "one").expect("both names stay"), b"12");
    fs.remove("one").expect("remove");
    assert_eq!(read_file(fs, "links/two").expect("the other name stays"), b"12");
    fs.remove("links/two").expect("remove");
    fs.remove_dir("links").expect("remove");
}

fn names(fs: &dyn Fs) {
    replace_file(fs, "one", b"1").expect("replace");
    replace_file(fs, "two", b"22").expect("replace");
    fs.rename("one", "two").expect("rename over a file");
    assert_eq!(read_file(fs, "two").expect("read"), b"1");
    assert_eq!(kind(fs.rename("one", "three")), Some(ErrorKind::NotFound));
    fs.rename("two", "two").expect("rename to itself");
    replace_file(fs, "two", b"333").expect("replace");
    assert_eq!(read_file(fs, "two").expect("read"), b"333");
    assert_eq!(fs.list("").expect("list").iter().map(|e| e.name.as_str()).collect::<Vec<_>>(), ["two"]);
    fs.remove("two").expect("remove");
}

fn directories(fs: &dyn Fs) {
    assert_eq!(kind(fs.list("d")), Some(ErrorKind::NotFound));
    assert_eq!(kind(fs.create_dir("d/e")), Some(ErrorKind::NotFound));
    assert_eq!(kind(fs.open("d/f", OpenMode::Truncate)), Some(ErrorKind::NotFound));
    create_dirs(fs, "d/e/f").expect("create");
    fs.create_dir("d").expect("it may exist");
    replace_file(fs, "d/e/file", b"12345").expect("replace");
    replace_file(fs, "d/e-file", b"1").expect("replace");
    let entry = |name: &str, is_dir, bytes| DirEntry { name: name.to_owned(), is_dir, bytes };
    assert_eq!(fs.list("d").expect("list"), [entry("e", true, 0), entry("e-file", false, 1)]);
    assert_eq!(fs.list("d/e").expect("list"), [entry("f", true, 0), entry("file", false, 5)]);
    assert!(fs.remove_dir("d/e").is_err(), "not empty");
    fs.rename("d/e/file", "moved").expect("rename over directories");
    fs.remove("moved").expect("remove");
    fs.remove_dir("d/e/f").expect("remove");
    fs.remove_dir("d/e").expect("remove");
    fs.remove("d/e-file").expect("remove");
    fs.remove_dir("d").expect("remove");
    assert_eq!(fs.list("").expect("list"), []);
}

fn locks(fs: &dyn Fs) {
    let guard = fs.lock("LOCK").expect("lock");
    assert_eq!(kind(fs.lock("LOCK")), Some(ErrorKind::WouldBlock));
    let other = fs.lock("LOCK2").expect("another lock");
    drop(guard);
    let again = fs.lock("LOCK").expect("free again");
    drop((again, other));
}
