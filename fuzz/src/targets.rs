//! Every decoder of bytes that come from a disk, a network or a user: none may panic, whatever the bytes, and
//! what it takes must be written again as it was read.

use bytes::Bytes;
use dunlin_cql::reply::{Reply, ReplyReader};
use dunlin_cql::{SessionState, Splitter};
use dunlin_replication::hints::segment::{HEADER_BYTES, Hints, header, put_hint};
use dunlin_replication::message::{
    Envelope, Fence, Identified, MergeReason, MergeRequest, ReadRequest, RecallRequest, Request, Response,
    ScanReplicaRequest, WriteMark,
};
use dunlin_replication::store::Durability;
use dunlin_ring::LayoutChain;
use dunlin_server::membership::message::MembershipMessage;
use dunlin_storage::fuzzing;
use dunlin_types::record::{Latest, SiblingSet};
use dunlin_types::schema::Schema;
use dunlin_types::view::RecordView;
use dunlin_types::{
    Actor, Context, Generation, HostId, Key, Micros, Record, TableId, Token, TokenRange, Value,
};

/// One target.
pub struct Target {
    /// As of its binary and its corpus.
    pub name: &'static str,
    /// Must not panic.
    pub run: fn(&[u8]),
    /// Valid inputs to start from.
    pub seeds: fn() -> Vec<Vec<u8>>,
}

/// All of them.
pub const TARGETS: &[Target] = &[
    Target { name: "sst_block", run: fuzzing::sstable::block, seeds: || sst_piece(0) },
    Target { name: "sst_index", run: fuzzing::sstable::index, seeds: || sst_piece(1) },
    Target { name: "sst_filter", run: fuzzing::sstable::filter, seeds: || sst_piece(2) },
    Target { name: "sst_part", run: fuzzing::sstable::part, seeds: || sst_piece(3) },
    Target { name: "sst_footer", run: fuzzing::sstable::footer, seeds: || sst_piece(4) },
    Target { name: "sst_file", run: fuzzing::sstable::file, seeds: || files(".sst") },
    Target { name: "log_frame", run: fuzzing::log_frame, seeds: || files(".log") },
    Target { name: "log_segment", run: fuzzing::log_segment, seeds: || files(".log") },
    Target { name: "catalog", run: fuzzing::catalog, seeds: || files("catalog") },
    Target { name: "manifest", run: fuzzing::table_manifest, seeds: || files(".manifest") },
    Target {
        name: "record",
        run: record,
        seeds: || records().iter().map(|r| r.to_bytes().to_vec()).collect(),
    },
    Target { name: "hint_segment", run: hint_segment, seeds: hint_seeds },
    Target { name: "layout_chain", run: layout_chain, seeds: Vec::new },
    Target { name: "replica_message", run: replica_message, seeds: message_seeds },
    Target { name: "membership_message", run: membership_message, seeds: Vec::new },
    Target { name: "transport_frame", run: dunlin_transport::quic::fuzz_frame, seeds: frame_seeds },
    Target { name: "language", run: language, seeds: language_seeds },
    Target { name: "client_reply", run: client_reply, seeds: reply_seeds },
];

/// Runs the target of that name: for the fuzzer's binaries.
#[allow(dead_code, reason = "the replay in tests/ goes through the list")]
pub fn run(name: &str, data: &[u8]) {
    let target = TARGETS.iter().find(|target| target.name == name).expect("a target of that name");
    (target.run)(data);
}

fn files(end: &str) -> Vec<Vec<u8>> {
    fuzzing::valid_file(end).into_iter().collect()
}

fn sst_piece(which: usize) -> Vec<Vec<u8>> {
    let file = fuzzing::valid_file(".sst").expect("the directory has an SSTable");
    let pieces = fuzzing::sstable::pieces(&file).expect("it is a valid one");
    vec![pieces[which].clone()]
}

fn records() -> Vec<Record> {
    let value = |written, expires, data: Option<&'static str>| Value {
        written: Micros(written),
        expires,
        data: data.map(|data| Bytes::from_static(data.as_bytes())),
    };
    let mut set = SiblingSet::default();
    for host in [1, 2] {
        let actor = Actor { host: HostId([host; 16]), generation: Generation(77) };
        set.write(&Context::new(), actor, 300, value(1_000, Some(Micros(5)), Some("sibling")));
    }
    let latest = |value| Record::Latest(Latest { host: HostId([9; 16]), value });
    vec![latest(value(7, None, Some("a value"))), latest(value(1 << 50, None, None)), Record::Siblings(set)]
}

fn record(data: &[u8]) {
    let (decoded, view) = (Record::decode_slice(data), RecordView::parse(data));
    let Ok(record) = decoded else { return };
    assert_eq!(record.to_bytes(), data, "canonical");
    let view = view.expect("the view takes what the decoder takes");
    assert_eq!(view.tombstone, record.is_tombstone());
    assert_eq!(view.written_max, record.written_max());
    let mut merged = record.clone();
    merged.merge(&record);
    assert_eq!(merged, record, "idempotent");
}

fn hint_segment(data: &[u8]) {
    Hints::new(Bytes::copy_from_slice(data)).for_each(drop);
    // One hint whose checksum is right.
    let mut segment = header(HostId([1; 16])).to_vec();
    segment.extend_from_slice(&(data.len() as u32).to_le_bytes());
    segment.extend_from_slice(&crc32fast::hash(data).to_le_bytes());
    segment.extend_from_slice(data);
    Hints::new(segment.into()).for_each(drop);
}

fn hint_seeds() -> Vec<Vec<u8>> {
    let mut segment = header(HostId([1; 16])).to_vec();
    let key = Key::new("key").expect("a short key");
    for record in records() {
        put_hint(&mut segment, Micros(5), TableId(3), Token(9), &key, &record);
    }
    vec![segment.clone(), segment[HEADER_BYTES + 8..].to_vec()]
}

fn layout_chain(data: &[u8]) {
    let _ = LayoutChain::decode(&Bytes::copy_from_slice(data));
}

fn replica_message(data: &[u8]) {
    let bytes = Bytes::copy_from_slice(data);
    if let Ok(envelope) = Envelope::decode(&bytes) {
        assert_eq!(Envelope::decode(&envelope.encode()), Ok(envelope));
    }
    if let Ok(response) = Response::decode(&bytes) {
        assert_eq!(Response::decode(&response.encode()), Ok(response));
    }
}

fn message_seeds() -> Vec<Vec<u8>> {
    let key = || Key::new("key").expect("a short key");
    let (table, token) = (TableId(3), Token(9));
    let mut requests = vec![
        Request::Read(ReadRequest { table, token, key: key(), digest: true }),
        Request::Scan(ScanReplicaRequest {
            table,
            range: TokenRange::ALL,
            after: Some((token, key())),
            limit: 10,
            bytes: 1000,
        }),
    ];
    for record in records() {
        let (durability, reason) = (Durability::Synced, MergeReason::Write);
        let identified = Some(Identified { id: [4; 16], mark: WriteMark::Time(Micros(4)) });
        requests.push(Request::Merge(MergeRequest {
            table,
            token,
            key: key(),
            record,
            durability,
            reason,
            identified,
        }));
    }
    requests.push(Request::Recall(RecallRequest { table, token, key: key(), id: [4; 16] }));
    let envelope = |request| Envelope { from: HostId([1; 16]), fence: Fence::default(), request };
    let mut seeds: Vec<_> = requests.into_iter().map(|r| envelope(r).encode().to_vec()).collect();
    seeds.extend(records().into_iter().map(|r| Response::Record(Some(r)).encode().to_vec()));
    seeds.push(Response::Digest(Some([7; 16])).encode().to_vec());
    seeds
}

fn membership_message(data: &[u8]) {
    let _ = MembershipMessage::decode(&Bytes::copy_from_slice(data));
}

fn frame_seeds() -> Vec<Vec<u8>> {
    vec![[&[12, 0, 0, 0][..], &[1; 12], &[13, 0, 0, 0], &[0; 13]].concat()]
}

/// A client's bytes: cut into statements, parsed, planned; what was parsed prints as something that parses alike.
fn language(data: &[u8]) {
    let mut rest = data;
    let mut splitter = Splitter::new();
    while let Some(end) = splitter.feed(rest) {
        assert!(end > 0 && end <= rest.len());
        statement(&rest[..end]);
        rest = &rest[end..];
    }
    statement(rest);
}

fn statement(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let Ok(statement) = dunlin_cql::parse(text) else { return };
    let printed = statement.to_string();
    let again = dunlin_cql::parse(&printed);
    assert_eq!(again.as_ref().map(ToString::to_string), Ok(printed.clone()), "{printed}");
    let _ = dunlin_cql::plan(statement, &Schema::default(), &SessionState::default());
}

fn language_seeds() -> Vec<Vec<u8>> {
    [
        "SELECT k, v FROM ks.t WHERE k = 'a' USING CONSISTENCY quorum;",
        "INSERT INTO t (k, v) VALUES ('a', 0x00ff) USING TTL 60 AND CONSISTENCY one;",
        "DELETE FROM t WHERE k = 'it''s'; -- comment\nUSE ks;",
        "CREATE TABLE IF NOT EXISTS ks.t (k text PRIMARY KEY, v blob) WITH conflicts = 'siblings' AND gc_grace = 864000;",
        "CREATE KEYSPACE ks WITH replication_factor = 3; /* more */ DESCRIBE ks;",
        "SELECT * FROM ks.t WHERE k IN ('a', 'b') LIMIT 10;",
        "BEGIN BATCH INSERT INTO t (k, v) VALUES ('a', 'b'); APPLY BATCH;",
    ]
    .map(|text| text.as_bytes().to_vec())
    .to_vec()
}

/// A server's bytes to a client, whole and in pieces: the same replies.
fn client_reply(data: &[u8]) {
    let whole = replies(&[data]);
    let (front, back) = data.split_at(data.len() / 3);
    assert_eq!(whole, replies(&[front, back]));
}

fn replies(pieces: &[&[u8]]) -> Vec<Reply> {
    let mut reader = ReplyReader::new(1 << 20);
    let mut out = Vec::new();
    for piece in pieces {
        reader.push(piece);
        loop {
            match reader.take_reply() {
                Ok(Some(reply)) => out.push(reply),
                Ok(None) => break,
                Err(_) => return out,
            }
        }
    }
    out
}

fn reply_seeds() -> Vec<Vec<u8>> {
    let cell = |text: &str| dunlin_cql::Cell::text(text);
    vec![
        Reply::ok_with("context", "abc").to_bytes(),
        Reply::rows(vec!["k".into(), "v".into()], vec![vec![cell("a"), cell("tab\there\n")]]).to_bytes(),
        Reply::error(dunlin_types::ErrorCode::Unavailable, "no").with("applied", "no").to_bytes(),
    ]
}
