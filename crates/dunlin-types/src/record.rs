//! What a replica stores under a key, and how two copies of it merge.
//!
//! `merge` is commutative, associative and idempotent, so replicas store by merging without reading
//! first, and any order of delivery, repair and hint replay ends in the same bytes.

use crate::codec::{DecodeError, Reader, put_bytes, put_varint};
use crate::host::{Actor, HostId};
use crate::time::{Hlc, Micros};
use crate::version::{Context, Dot, put_dot, read_dot};
use bytes::Bytes;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A written value or a tombstone.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Value {
    /// When it was written.
    pub written: Hlc,
    /// From when on it reads as absent.
    pub expires: Option<Micros>,
    /// The bytes; `None` is a tombstone.
    pub data: Option<Bytes>,
}

impl Value {
    /// The bytes, unless this is a tombstone or expired at `now`.
    pub fn visible(&self, now: Micros) -> Option<&Bytes> {
        match self.expires {
            Some(at) if at <= now => None,
            _ => self.data.as_ref(),
        }
    }

    fn encode(&self, out: &mut Vec<u8>) {
        let flags = u8::from(self.data.is_some()) | u8::from(self.expires.is_some()) << 1;
        out.push(flags);
        put_varint(out, self.written.0);
        if let Some(at) = self.expires {
            put_varint(out, at.0);
        }
        if let Some(data) = &self.data {
            put_bytes(out, data);
        }
    }

    fn decode(reader: &mut Reader<'_>) -> Result<Value, DecodeError> {
        let (written, expires, data) = read_value(reader, |reader| reader.bytes("value"))?;
        Ok(Value { written, expires, data })
    }
}

/// Reads a value's write time, expiry and data; `data` reads the latter, shared or borrowed.
pub(crate) fn read_value<'a, D>(
    reader: &mut Reader<'a>,
    data: impl FnOnce(&mut Reader<'a>) -> Result<D, DecodeError>,
) -> Result<(Hlc, Option<Micros>, Option<D>), DecodeError> {
    let bad = reader.error("value flags");
    let flags = reader.u8("value flags")?;
    if flags > 3 {
        return Err(bad);
    }
    let written = Micros(reader.varint("write time")?);
    let expires = if flags & 2 != 0 { Some(Micros(reader.varint("expiry")?)) } else { None };
    let data = if flags & 1 != 0 { Some(data(reader)?) } else { None };
    Ok((written, expires, data))
}

/// The record of a `conflicts = 'siblings'` table: a dotted version vector set.
///
/// Invariant: `values` is sorted by dot and every dot in it is covered by `seen`. A dot that `seen`
/// covers and `values` lacks was superseded.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct SiblingSet {
    seen: Context,
    values: Vec<(Dot, Value)>,
}

impl SiblingSet {
    /// Everything this copy has seen, superseded or not: the context of a read.
    pub fn seen(&self) -> &Context {
        &self.seen
    }

    /// The siblings, tombstones included, by dot.
    pub fn values(&self) -> &[(Dot, Value)] {
        &self.values
    }

    /// Mints a write at the coordinating replica: drops what `context` covers, adds `value` under
    /// `(actor, counter)`.
    ///
    /// The caller is that actor and this is its own copy, which holds every write that the actor
    /// coordinated for the key and that is not superseded; so the whole of the actor up to `counter`
    /// is seen. `counter` must be higher than any the actor used before.
    pub fn write(&mut self, context: &Context, actor: Actor, counter: u64, value: Value) {
        self.values.retain(|(dot, _)| !context.covers(*dot));
        self.seen.join(context);
        self.seen.advance(actor, counter);
        let dot = Dot { actor, counter };
        let at = self.values.partition_point(|(d, _)| *d < dot);
        self.values.insert(at, (dot, value));
    }

    /// Closes an incarnation of a host and all before it, if no value of them is left; see [`Context::close`].
    pub fn close(&mut self, last: Actor) {
        let of_it = |actor: Actor| actor.host == last.host && actor.generation <= last.generation;
        if !self.values.iter().any(|(dot, _)| of_it(dot.actor)) {
            self.seen.close(last);
        }
    }

    /// A write minted without a copy of the record: it has seen `context` and itself, nothing more.
    pub fn detached(context: &Context, dot: Dot, value: Value) -> SiblingSet {
        let mut seen = context.clone();
        seen.add_dot(dot);
        SiblingSet { seen, values: vec![(dot, value)] }
    }

    /// Drops the values whose dot is chosen, as superseded.
    pub fn supersede(&mut self, chosen: impl Fn(Dot) -> bool) {
        self.values.retain(|(dot, _)| !chosen(*dot));
    }

    /// Joins another copy: keeps a value that both hold or that the other has not seen.
    pub fn merge(&mut self, other: &SiblingSet) {
        let mut values = Vec::with_capacity(self.values.len().max(other.values.len()));
        let holds = |set: &SiblingSet, dot: Dot| set.values.binary_search_by_key(&dot, |v| v.0).is_ok();
        for (dot, value) in &self.values {
            if holds(other, *dot) || !other.seen.covers(*dot) {
                values.push((*dot, value.clone()));
            }
        }
        for (dot, value) in &other.values {
            if !holds(self, *dot) && !self.seen.covers(*dot) {
                values.push((*dot, value.clone()));
            }
        }
        values.sort_by_key(|v| v.0);
        self.values = values;
        self.seen.join(&other.seen);
    }
}

/// The record of a `conflicts = 'last_write_wins'` table: the largest (write time, deletion before value,
/// host id, value bytes).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Latest {
    /// Node that took the write; breaks ties of time.
    pub host: HostId,
    /// The value or tombstone, with its write time.
    pub value: Value,
}

impl Latest {
    fn rank(&self) -> impl Ord + '_ {
        let Value { written, expires, data } = &self.value;
        rank(*written, self.host, data.as_deref(), *expires)
    }
}

/// What the larger of two last_write_wins records has more of. At one time a deletion outranks every value,
/// whichever node took it: `DELETE USING TIMESTAMP t` takes away what was written at `t`.
pub(crate) fn rank(
    written: Hlc,
    host: HostId,
    data: Option<&[u8]>,
    expires: Option<Micros>,
) -> impl Ord + '_ {
    (written, data.is_none(), host, data, expires)
}

/// What a replica stores under a key.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Record {
    /// Of a siblings table.
    Siblings(SiblingSet),
    /// Of a last_write_wins table.
    Latest(Latest),
}

impl Record {
    /// First byte of the canonical bytes of siblings.
    pub const SIBLINGS: u8 = 1;
    /// First byte of the canonical bytes of a last_write_wins record.
    pub const LATEST: u8 = 2;

    /// Joins another copy of the same key. Records of different modes cannot meet in one table; should
    /// damage bring them together, siblings win on both sides alike.
    pub fn merge(&mut self, other: &Record) {
        match (&mut *self, other) {
            (Record::Siblings(mine), Record::Siblings(theirs)) => mine.merge(theirs),
            (Record::Latest(mine), Record::Latest(theirs)) => {
                if mine.rank() < theirs.rank() {
                    *mine = theirs.clone();
                }
            }
            (Record::Latest(_), Record::Siblings(_)) => *self = other.clone(),
            (Record::Siblings(_), Record::Latest(_)) => {}
        }
    }

    /// The values a reader at `now` is shown: no tombstones, nothing expired, equal ones once, in an
    /// order that all replicas share.
    pub fn visible(&self, now: Micros) -> Vec<&Value> {
        match self {
            Record::Siblings(set) => {
                let mut shown: Vec<&Value> = Vec::new();
                for (_, value) in &set.values {
                    if let Some(data) = value.visible(now)
                        && !shown.iter().any(|v| v.data.as_ref() == Some(data))
                    {
                        shown.push(value);
                    }
                }
                shown
            }
            Record::Latest(latest) => latest.value.visible(now).map(|_| &latest.value).into_iter().collect(),
        }
    }

    /// The causal context of a read; empty for last_write_wins.
    pub fn context(&self) -> Context {
        match self {
            Record::Siblings(set) => set.seen.clone(),
            Record::Latest(_) => Context::new(),
        }
    }

    /// Whether nothing but tombstones is left.
    pub fn is_tombstone(&self) -> bool {
        match self {
            Record::Siblings(set) => set.values.iter().all(|(_, v)| v.data.is_none()),
            Record::Latest(latest) => latest.value.data.is_none(),
        }
    }

    /// The latest write time in it, for statistics and age rules.
    pub fn written_max(&self) -> Hlc {
        match self {
            Record::Siblings(set) => set.values.iter().map(|(_, v)| v.written).max().unwrap_or_default(),
            Record::Latest(latest) => latest.value.written,
        }
    }

    /// Appends the canonical bytes: equal records, equal bytes. The format of disk and wire (`docs/formats.md`).
    pub fn encode(&self, out: &mut Vec<u8>) {
        match self {
            Record::Siblings(set) => {
                out.push(Record::SIBLINGS);
                set.seen.encode(out);
                put_varint(out, set.values.len() as u64);
                for (dot, value) in &set.values {
                    put_dot(out, *dot);
                    value.encode(out);
                }
            }
            Record::Latest(latest) => {
                out.push(Record::LATEST);
                out.extend_from_slice(&latest.host.0);
                latest.value.encode(out);
            }
        }
    }

    /// The canonical bytes.
    pub fn to_bytes(&self) -> Bytes {
        let mut out = Vec::with_capacity(128);
        self.encode(&mut out);
        out.into()
    }

    /// Reads canonical bytes whole; values share them.
    pub fn decode(bytes: &Bytes) -> Result<Record, DecodeError> {
        Record::read(Reader::new(bytes))
    }

    /// As [`Record::decode`], with copies of the values.
    pub fn decode_slice(bytes: &[u8]) -> Result<Record, DecodeError> {
        Record::read(Reader::of_slice(bytes))
    }

    fn read(mut reader: Reader<'_>) -> Result<Record, DecodeError> {
        let bad = reader.error("record kind");
        let record = match reader.u8("record kind")? {
            Record::SIBLINGS => {
                let seen = Context::decode(&mut reader)?;
                let count = reader.count(20, "siblings")?;
                let mut values: Vec<(Dot, Value)> = Vec::with_capacity(count);
                for _ in 0..count {
                    let bad = reader.error("sibling: out of order or not covered");
                    let dot = read_dot(&mut reader)?;
                    if !seen.covers(dot) || values.last().is_some_and(|last| last.0 >= dot) {
                        return Err(bad);
                    }
                    values.push((dot, Value::decode(&mut reader)?));
                }
                Record::Siblings(SiblingSet { seen, values })
            }
            Record::LATEST => Record::Latest(Latest {
                host: HostId(reader.array("host")?),
                value: Value::decode(&mut reader)?,
            }),
            _ => return Err(bad),
        };
        reader.finish("end of record")?;
        Ok(record)
    }

    /// BLAKE3 of the canonical bytes, cut to 16: what digest reads and Merkle leaves compare.
    pub fn digest(&self) -> [u8; 16] {
        let mut bytes = Vec::with_capacity(256);
        self.encode(&mut bytes);
        let hash = blake3::hash(&bytes);
        hash.as_bytes()[..16].try_into().expect("a BLAKE3 hash has 32 bytes")
    }
}

impl Serialize for Record {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(&self.to_bytes())
    }
}

impl<'de> Deserialize<'de> for Record {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Record, D::Error> {
        let bytes: serde_bytes::ByteBuf = Deserialize::deserialize(deserializer)?;
        Record::decode(&Bytes::from(bytes.into_vec())).map_err(serde::de::Error::custom)
    }
}
