//! A chain as bytes: for its digest, the disk, and other nodes.

use super::LayoutChain;
use crate::layout::{Layout, LayoutError};
use crate::staging::Staging;
use crate::watermarks::Watermarks;
use bytes::Bytes;
use dunlin_types::HostId;
use dunlin_types::codec::{DecodeError, Reader, put_varint};
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

/// Candidates that a chain read from bytes may hold.
const CANDIDATES_DECODED_MAX: usize = 64;
const FORMAT: u8 = 1;

/// Bytes that are no chain of layouts.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ChainError {
    /// The bytes end early or a field has an impossible value.
    #[error(transparent)]
    Decode(#[from] DecodeError),
    /// One of its layouts is none.
    #[error(transparent)]
    Layout(#[from] LayoutError),
    /// The parts contradict each other.
    #[error("not a chain of layouts: {0}")]
    Inconsistent(&'static str),
}

impl LayoutChain {
    /// The canonical bytes: equal chains have equal ones.
    pub fn encode(&self) -> Bytes {
        let mut out = vec![FORMAT];
        self.base.encode(&mut out);
        put_varint(&mut out, self.candidates.len() as u64);
        for candidate in &self.candidates {
            candidate.encode(&mut out);
        }
        self.staging.encode(&mut out);
        put_varint(&mut out, self.watermarks.len() as u64);
        for (host, marks) in &self.watermarks {
            out.extend_from_slice(&host.0);
            put_varint(&mut out, marks.revision);
            put_varint(&mut out, marks.ack);
            out.extend_from_slice(&marks.ack_digest);
            put_varint(&mut out, marks.sync);
            put_varint(&mut out, marks.sync_ack);
        }
        Bytes::from(out)
    }

    /// Reads canonical bytes and checks the invariants; never panics.
    pub fn decode(bytes: &Bytes) -> Result<LayoutChain, ChainError> {
        let mut reader = Reader::new(bytes);
        if reader.u8("chain: format")? != FORMAT {
            return Err(ChainError::Inconsistent("unknown format"));
        }
        let base = Arc::new(Layout::decode(&mut reader)?);
        let mut candidates: Vec<Arc<Layout>> = Vec::new();
        let count = reader.count(64, "chain: candidates")?;
        if count > CANDIDATES_DECODED_MAX {
            return Err(ChainError::Inconsistent("too many candidates"));
        }
        for _ in 0..count {
            let candidate = Layout::decode(&mut reader)?;
            if candidate.parent != base.digest()
                || candidate.version <= base.version
                || candidate.cluster != base.cluster
            {
                return Err(ChainError::Inconsistent(
                    "a candidate that does not follow the completed layout",
                ));
            }
            let after = candidates
                .last()
                .is_none_or(|l| (l.version, l.digest()) < (candidate.version, candidate.digest()));
            if !after || candidate.vnodes != base.vnodes || candidate.partitioner != base.partitioner {
                return Err(ChainError::Inconsistent("candidates out of order or of another ring"));
            }
            candidates.push(Arc::new(candidate));
        }
        let staging = Staging::decode(&mut reader)?;
        let mut watermarks: BTreeMap<HostId, Watermarks> = BTreeMap::new();
        for _ in 0..reader.count(52, "chain: watermarks")? {
            let host = HostId(reader.array("watermarks: host")?);
            let marks = Watermarks {
                revision: reader.varint("watermarks: revision")?,
                base: base.digest(),
                ack: reader.varint("watermarks: ack")?,
                ack_digest: reader.array("watermarks: digest")?,
                sync: reader.varint("watermarks: sync")?,
                sync_ack: reader.varint("watermarks: sync_ack")?,
            };
            let ordered = watermarks.last_key_value().is_none_or(|(last, _)| *last < host);
            if !ordered || marks.revision == u64::MAX || marks.sync > marks.ack || marks.sync_ack > marks.sync
            {
                return Err(ChainError::Inconsistent("watermarks out of order"));
            }
            watermarks.insert(host, marks);
        }
        reader.finish("chain: end")?;
        let mut chain = LayoutChain { base, candidates, staging, watermarks, active: Vec::new() };
        chain.refresh();
        Ok(chain)
    }

    /// BLAKE3 over the canonical bytes: nodes exchange chains when these differ.
    pub fn digest(&self) -> [u8; 32] {
        *blake3::hash(&self.encode()).as_bytes()
    }
}

impl PartialEq for LayoutChain {
    fn eq(&self, other: &LayoutChain) -> bool {
        self.base == other.base
            && self.candidates == other.candidates
            && self.staging == other.staging
            && self.watermarks == other.watermarks
    }
}

impl Eq for LayoutChain {}

impl fmt::Debug for LayoutChain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LayoutChain")
            .field("base", &self.base)
            .field("candidates", &self.candidates)
            .field("staging", &self.staging)
            .field("watermarks", &self.watermarks)
            .finish()
    }
}

impl From<LayoutChain> for Bytes {
    fn from(chain: LayoutChain) -> Bytes {
        chain.encode()
    }
}

impl TryFrom<Bytes> for LayoutChain {
    type Error = ChainError;
    fn try_from(bytes: Bytes) -> Result<LayoutChain, ChainError> {
        LayoutChain::decode(&bytes)
    }
}
