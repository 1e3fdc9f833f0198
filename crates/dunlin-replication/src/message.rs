//! What nodes say to one another about records: requests of lanes `Request` and `Bulk`, and answers.
//!
//! Every request travels in an [`Envelope`] that names the layouts its sender acts under, so that a
//! replica which knows better can refuse it. The deadline travels with the transport's call.

use crate::hints::message::{HintsAnswer, HintsRequest};
use crate::repair::message::{RepairRequest, RepairResponse};
use crate::store::{Durability, Entry};
use bytes::Bytes;
use dunlin_transport::codec::{self, CodecError};
use dunlin_types::{
    ClusterError, Consistency, Context, Dot, Hlc, HostId, Key, Micros, Record, TableId, Token, TokenRange,
};
use serde::{Deserialize, Serialize};

/// A layout by its version and the first bytes of its digest.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default, Serialize, Deserialize)]
pub struct LayoutStamp {
    /// Its version.
    pub version: u64,
    /// The first eight bytes of its digest, big-endian: two layouts of one version differ here.
    pub digest: u64,
}

/// The layouts a request was made under.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Fence {
    /// The newest layout the sender knows: its writes go to every active layout up to this one.
    pub newest: LayoutStamp,
    /// Version of the layout the sender reads from.
    pub read: u64,
}

/// A request and the layouts it was made under.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Envelope {
    /// The sender.
    pub from: HostId,
    /// The sender's layouts.
    pub fence: Fence,
    /// What is asked.
    pub request: Request,
}

/// What one node asks another.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub enum Request {
    /// Coordinate a write of a siblings table. Never sent twice for one write once it may have arrived.
    Coordinate(CoordinateRequest),
    /// Join a record into the replica's copy. May be repeated.
    Merge(MergeRequest),
    /// The replica's copy of a record, or its digest.
    Read(ReadRequest),
    /// A page of the replica's records.
    Scan(ScanReplicaRequest),
    /// A step of anti-entropy.
    Repair(RepairRequest),
    /// Hints for the receiver, or for it to keep. May be repeated.
    Hints(HintsRequest),
    /// Whether the replica has seen a write with that request id.
    Recall(RecallRequest),
}

/// A write for the replica that will mint its version.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct CoordinateRequest {
    /// The table.
    pub table: TableId,
    /// The key.
    pub key: Key,
    /// The value; `None` writes a tombstone.
    pub value: Option<Bytes>,
    /// When the value expires.
    pub expires: Option<Micros>,
    /// What the client has seen; `None` is an upsert.
    pub context: Option<Context>,
    /// Makes a client's repetition idempotent.
    pub request_id: Option<RequestId>,
    /// How many acknowledgements to await.
    pub consistency: Consistency,
    /// When a replica acknowledges.
    pub durability: Durability,
}

/// Why a record is merged: decides what a replica that is not an owner, or too full, does with it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum MergeReason {
    /// A client's write: fenced by layout, refused on a full disk.
    Write,
    /// Read repair: as a write, but goes on when the disk is too full for clients.
    Repair,
}

/// A record to join.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct MergeRequest {
    /// The table.
    pub table: TableId,
    /// Place on the ring.
    pub token: Token,
    /// The key.
    pub key: Key,
    /// The record.
    pub record: Record,
    /// When to acknowledge.
    pub durability: Durability,
    /// Why.
    pub reason: MergeReason,
    /// The write's request id, if it has one.
    pub identified: Option<Identified>,
}

/// A client's name for one write, the same in each of its attempts.
pub type RequestId = [u8; 16];

/// What tells whether a record has seen a write.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum WriteMark {
    /// In a siblings table: its dot.
    Dot(Dot),
    /// In a last_write_wins table: its time.
    Time(Hlc),
}

impl WriteMark {
    /// Whether the record has seen the write: it holds it, or what superseded it.
    pub fn is_in(self, record: &Record) -> bool {
        match (self, record) {
            (WriteMark::Dot(dot), Record::Siblings(set)) => set.seen().covers(dot),
            (WriteMark::Time(at), Record::Latest(latest)) => latest.value.written >= at,
            _ => false,
        }
    }
}

/// A write that came with a request id, for replicas to remember with its record.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Identified {
    /// The id.
    pub id: RequestId,
    /// The write.
    pub mark: WriteMark,
}

/// Asks for a write by its request id.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct RecallRequest {
    /// The table.
    pub table: TableId,
    /// Place on the ring.
    pub token: Token,
    /// The key.
    pub key: Key,
    /// The id.
    pub id: RequestId,
}

/// What a replica knows of a write with that request id.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Recalled {
    /// The write.
    pub mark: WriteMark,
    /// The replica's copy as of now, which has seen the write.
    pub record: Record,
}

/// A read of one key.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct ReadRequest {
    /// The table.
    pub table: TableId,
    /// Place on the ring.
    pub token: Token,
    /// The key.
    pub key: Key,
    /// Answer with the digest alone.
    pub digest: bool,
}

/// A read of a range, in (token, key) order.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct ScanReplicaRequest {
    /// The table.
    pub table: TableId,
    /// The tokens.
    pub range: TokenRange,
    /// Strictly after this place.
    pub after: Option<(Token, Key)>,
    /// Most records.
    pub limit: u32,
    /// About the most bytes.
    pub bytes: u32,
}

/// Digest of a record; of an absent one, `None`.
pub type RecordDigest = Option<[u8; 16]>;

/// An answer.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub enum Response {
    /// To `Coordinate`: the context for the client, or why the write fell short.
    Coordinated(Result<Context, Box<ClusterError>>),
    /// To `Merge`: joined, and durable as asked.
    Merged,
    /// To `Read`.
    Record(Option<Record>),
    /// To `Read` of a digest.
    Digest(RecordDigest),
    /// To `Scan`.
    Entries {
        /// In (token, key) order.
        entries: Vec<Entry>,
        /// There may be more after the last of them.
        truncated: bool,
    },
    /// Not done, and nothing was applied.
    Refused(Refusal),
    /// To `Repair`.
    Repair(RepairResponse),
    /// To `Hints`.
    Hints(HintsAnswer),
    /// To `Recall`; `None`: not known here.
    Recalled(Option<Recalled>),
}

/// Why a replica did nothing.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, thiserror::Error)]
pub enum Refusal {
    /// The replica knows a newer layout, under which the sender may not act so.
    #[error("the layout is stale: version {} is known", .0.version)]
    StaleLayout(LayoutStamp),
    /// The sender knows a newer layout than the replica, which has to catch up first.
    #[error("behind: only layout version {} is known", .0.version)]
    Behind(LayoutStamp),
    /// The replica owns the token in no active layout.
    #[error("not an owner under layout version {}", .0.version)]
    NotOwner(LayoutStamp),
    /// The table is not known (yet).
    #[error("no such table here")]
    UnknownTable,
    /// A queue is full.
    #[error("overloaded")]
    Overloaded {
        /// When to come again.
        retry_after_ms: u32,
    },
    /// The disk is too full for client writes.
    #[error("the disk is full")]
    DiskFull,
    /// Starting or draining.
    #[error("not ready")]
    NotReady,
    /// The store failed.
    #[error("failed: {0}")]
    Failed(String),
    /// The request could not be decoded.
    #[error("malformed request")]
    Malformed,
}

impl Envelope {
    /// The bytes for the transport.
    pub fn encode(&self) -> Bytes {
        codec::encode(self)
    }

    /// From the transport's bytes.
    pub fn decode(bytes: &Bytes) -> Result<Envelope, CodecError> {
        codec::decode(bytes)
    }
}

impl Response {
    /// The bytes for the transport.
    pub fn encode(&self) -> Bytes {
        codec::encode(self)
    }

    /// From the transport's bytes.
    pub fn decode(bytes: &Bytes) -> Result<Response, CodecError> {
        codec::decode(bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hints::message::{HintFate, HintsPurpose};
    use crate::hints::segment::Hint;
    use dunlin_types::record::SiblingSet;
    use dunlin_types::{Actor, Generation, Value};
    use proptest::prelude::*;

    fn record(data: Vec<u8>) -> Record {
        let dot = Dot { actor: Actor { host: HostId([1; 16]), generation: Generation(5) }, counter: 7 };
        let value = Value { written: Micros(1_700_000_000_000_000), expires: None, data: Some(data.into()) };
        Record::Siblings(SiblingSet::detached(&Context::new(), dot, value))
    }

    fn envelope(request: Request) -> Envelope {
        let fence = Fence { newest: LayoutStamp { version: 300, digest: u64::MAX }, read: 299 };
        Envelope { from: HostId([9; 16]), fence, request }
    }

    fn merge(key: &str, data: Vec<u8>) -> Envelope {
        envelope(Request::Merge(MergeRequest {
            table: TableId(u64::MAX),
            token: Token(u64::MAX),
            key: Key::new(key.to_owned()).unwrap(),
            record: record(data),
            durability: Durability::Synced,
            reason: MergeReason::Write,
            identified: None,
        }))
    }

    #[test]
    fn requests_and_answers_read_back() {
        let key = Key::new("k").unwrap();
        let mut context = Context::new();
        context.advance(Actor { host: HostId([1; 16]), generation: Generation(5) }, 9);
        let requests = [
            Request::Coordinate(CoordinateRequest {
                table: TableId(1),
                key: key.clone(),
                value: Some(Bytes::from_static(b"v")),
                expires: Some(Micros(4)),
                context: Some(context.clone()),
                request_id: Some([8; 16]),
                consistency: Consistency::EachQuorum,
                durability: Durability::Buffered,
            }),
            Request::Read(ReadRequest { table: TableId(1), token: Token(2), key: key.clone(), digest: true }),
            Request::Scan(ScanReplicaRequest {
                table: TableId(1),
                range: TokenRange::ALL,
                after: Some((Token(2), key.clone())),
                limit: 10,
                bytes: 20,
            }),
            Request::Repair(RepairRequest::Tables { layout: 4 }),
            Request::Hints(HintsRequest {
                purpose: HintsPurpose::StandIn(HostId([4; 16])),
                hints: vec![Hint {
                    created: Micros(4),
                    table: TableId(1),
                    token: Token(2),
                    key: key.clone(),
                    record: record(vec![1]),
                }],
            }),
            Request::Recall(RecallRequest {
                table: TableId(1),
                token: Token(2),
                key: key.clone(),
                id: [7; 16],
            }),
        ];
        for request in requests {
            let envelope = envelope(request);
            assert_eq!(Envelope::decode(&envelope.encode()).unwrap(), envelope);
        }
        let entry = Entry { token: Token(2), key, record: record(vec![1]) };
        let answers = [
            Response::Coordinated(Ok(context)),
            Response::Coordinated(Err(Box::new(ClusterError::new(dunlin_types::ErrorCode::Stale, "m")))),
            Response::Merged,
            Response::Recalled(Some(Recalled { mark: WriteMark::Time(Micros(3)), record: record(vec![2]) })),
            Response::Record(None),
            Response::Record(Some(record(vec![3; 300]))),
            Response::Digest(Some([4; 16])),
            Response::Entries { entries: vec![entry], truncated: true },
            Response::Refused(Refusal::StaleLayout(LayoutStamp { version: 4, digest: 5 })),
            Response::Hints(HintsAnswer { fates: vec![HintFate::Taken, HintFate::Refused], rate_bytes: 7 }),
        ];
        for answer in answers {
            assert_eq!(Response::decode(&answer.encode()).unwrap(), answer);
        }
    }

    proptest! {
        #[test]
        fn values_travel_as_whole_slices(data in prop::collection::vec(any::<u8>(), 0..2000)) {
            let length = data.len();
            let envelope = merge("key", data);
            let bytes = envelope.encode();
            prop_assert!(bytes.len() <= length + 160, "{} for {length}", bytes.len());
            prop_assert_eq!(Envelope::decode(&bytes).unwrap(), envelope);
        }

        #[test]
        fn hostile_bytes_are_harmless(data: Vec<u8>, at: prop::sample::Index, byte: u8, cut: prop::sample::Index) {
            let good = merge("key", data.clone()).encode();
            let mut bad = good.to_vec();
            let place = at.index(bad.len());
            bad[place] = byte;
            let _ = Envelope::decode(&bad.into());
            prop_assert!(Envelope::decode(&good.slice(..cut.index(good.len()))).is_err());
            let _ = Envelope::decode(&data.clone().into());
            let _ = Response::decode(&data.into());
        }
    }
}
