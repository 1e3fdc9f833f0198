//! The asking side of an exchange: one range of one table, two replicas.

use super::message::{
    Differing, Digest, LEVELS_MAX, LISTED_MAX, Listed, PARENTS_MAX, Purpose, RECORD_BYTES_MAX, RECORDS_MAX,
    RepairRequest, RepairResponse, SLICES_MAX,
};
use super::read::{Place, Reader};
use super::respond::{entry_bytes, merge_all};
use super::tree::{MerkleTree, RecordHasher};
use crate::local::Local;
use crate::message::Refusal;
use crate::store::{Entry, StoreError};
use dunlin_types::runtime::{BoxFuture, PlantedBug};
use dunlin_types::{Key, Micros, Mono, TableId, Token, TokenRange};
use parking_lot::Mutex;
use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

/// Why an exchange did not end. What travelled until then was merged, so the next one has less to do.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RepairError {
    /// The peer is down, or no answer came.
    #[error("cannot reach the peer: {0}")]
    Unreachable(String),
    /// The peer would not.
    #[error("the peer refused: {0}")]
    Refused(Refusal),
    /// The own store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The answer does not fit the question.
    #[error("unexpected answer of the peer: {0}")]
    Protocol(&'static str),
}

/// What an exchange did.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct RepairOutcome {
    /// Leaves that differed.
    pub leaves_differing: u64,
    /// Keys whose records differed.
    pub records_differing: u64,
    /// Records sent to the peer.
    pub records_sent: u64,
    /// Records received from it.
    pub records_received: u64,
    /// Records that the peer did not take, as it owns them in no layout: the copies did not end equal.
    pub records_refused: u64,
    /// Bytes of records, both ways.
    pub bytes: u64,
}

impl RepairOutcome {
    /// Adds another's counts.
    pub fn add(&mut self, other: RepairOutcome) {
        self.leaves_differing += other.leaves_differing;
        self.records_differing += other.records_differing;
        self.records_sent += other.records_sent;
        self.records_received += other.records_received;
        self.records_refused += other.records_refused;
        self.bytes += other.bytes;
    }
}

/// The other side.
pub trait Peer: Send + Sync {
    /// Asks and waits for the answer; a refusal is an error.
    fn ask(&self, request: RepairRequest) -> BoxFuture<'_, Result<RepairResponse, RepairError>>;
}

/// Oldest record that is sent: with the longest call, less than the margin of purging.
const READ_AGE_MAX: Duration = Duration::from_secs(30);
/// Oldest answer whose records are taken, counted from the question.
const ANSWER_AGE_MAX: Duration = Duration::from_secs(130);

/// One exchange.
pub struct Exchange<'a> {
    /// Reads the own copy.
    pub reader: &'a Reader,
    /// Hashes its records.
    pub hasher: &'a RecordHasher,
    /// Writes it.
    pub local: &'a Local,
    /// The other side.
    pub peer: &'a dyn Peer,
    /// The table.
    pub table: TableId,
    /// What for: decides which way records go.
    pub purpose: Purpose,
    /// Gathers, in a resync, what the peer lacks: at most [`LACKING_MAX`].
    pub lacking: Mutex<Vec<Place>>,
}

/// Keys of one range that a resync may find to have been deleted elsewhere; it is repeated for more.
pub const LACKING_MAX: usize = 1 << 20;

impl Exchange<'_> {
    /// Compares the trees of a range that the peer says differs, and moves what does.
    pub async fn run(&self, range: TokenRange, theirs: Differing) -> Result<RepairOutcome, RepairError> {
        let mut outcome = RepairOutcome::default();
        let horizon = theirs.horizon;
        let (mine, _) = self.reader.tree(self.hasher, self.table, range, horizon).await?;
        if mine.root() == theirs.root {
            return Ok(outcome);
        }
        let depth = mine.leaves_log2().min(theirs.leaves_log2);
        let leaves = self.descend(&mine, range, horizon, depth).await?;
        outcome.leaves_differing = leaves.len() as u64;
        let mut slices: VecDeque<TokenRange> =
            join_neighbours(leaves.iter().map(|&leaf| mine.slice(depth, leaf)));
        let mut after: Option<Place> = None;
        while !slices.is_empty() {
            let asked: Vec<TokenRange> = slices.iter().copied().take(SLICES_MAX).collect();
            let request = RepairRequest::List {
                table: self.table,
                purpose: self.purpose,
                horizon,
                slices: asked.clone(),
                after: after.clone(),
            };
            let RepairResponse::Lists { lists, cut } = self.peer.ask(request).await? else {
                return Err(RepairError::Protocol("to List"));
            };
            if lists.is_empty() || lists.len() > asked.len() {
                return Err(RepairError::Protocol("number of lists"));
            }
            let last = lists.len() - 1;
            for (i, theirs) in lists.into_iter().enumerate() {
                let slice = asked[i];
                let upto = if i == last { cut.as_ref() } else { None };
                if upto
                    .is_some_and(|upto| !slice.contains(upto.0) || after.as_ref().is_some_and(|a| a >= upto))
                {
                    return Err(RepairError::Protocol("a list that makes no progress"));
                }
                self.mend_slice(slice, horizon, after.take(), upto, theirs, &mut outcome).await?;
                match upto {
                    None => drop(slices.pop_front()),
                    Some(upto) => {
                        slices[0].first = upto.0;
                        after = Some(upto.clone());
                    }
                }
            }
        }
        Ok(outcome)
    }

    /// Indexes of the nodes at a depth that differ.
    async fn descend(
        &self,
        mine: &MerkleTree,
        range: TokenRange,
        horizon: Micros,
        depth: u8,
    ) -> Result<Vec<u32>, RepairError> {
        let mut level = 0;
        let mut differing = vec![0u32];
        while level < depth {
            let down = LEVELS_MAX.min(depth - level);
            let mut below = Vec::new();
            for parents in differing.chunks(PARENTS_MAX) {
                let (table, parents) = (self.table, parents.to_vec());
                let request =
                    RepairRequest::Nodes { table, range, horizon, level, down, parents: parents.clone() };
                let theirs = match self.peer.ask(request).await? {
                    RepairResponse::Nodes(nodes) if nodes.len() == parents.len() << down => nodes,
                    _ => return Err(RepairError::Protocol("to Nodes")),
                };
                let children = parents.iter().flat_map(|&p| p << down..(p + 1) << down);
                for (index, digest) in children.zip(theirs) {
                    if mine.node(level + down, index) != Some(digest) {
                        below.push(index);
                    }
                }
            }
            differing = below;
            level += down;
        }
        Ok(differing)
    }

    /// Compares a slice after `from` and up to `upto` with the peer's list of the same part, reading the
    /// own copy in bounded pieces. Records of one token that a piece's end parts travel in vain; there
    /// are none with 64-bit tokens.
    async fn mend_slice(
        &self,
        slice: TokenRange,
        horizon: Micros,
        mut from: Option<Place>,
        upto: Option<&Place>,
        theirs: Vec<Listed>,
        outcome: &mut RepairOutcome,
    ) -> Result<(), RepairError> {
        let mut theirs = &theirs[..];
        loop {
            let (mine, cut) =
                self.reader.list(self.table, slice, horizon, from.as_ref(), upto, LISTED_MAX).await?;
            let until = cut.as_ref().map_or(theirs.len(), |cut| theirs.partition_point(|l| l.token <= cut.0));
            let (mut piece, rest) = theirs.split_at(until);
            if self.local.planted(PlantedBug::RepairSendsAll) {
                piece = &[];
            }
            self.mend(&Difference::between(mine, piece), outcome).await?;
            theirs = rest;
            if cut.is_none() {
                return Ok(());
            }
            from = cut;
        }
    }

    /// Moves the records of a difference.
    async fn mend(&self, difference: &Difference, outcome: &mut RepairOutcome) -> Result<(), RepairError> {
        outcome.records_differing += difference.keys();
        let fetched = if self.purpose.pulls() { &difference.theirs[..] } else { &[][..] };
        let wanted: Vec<(Token, Digest)> = fetched.iter().map(|l| (l.token, l.key_hash)).collect();
        let mut rest = &wanted[..];
        while !rest.is_empty() {
            let chunk = &rest[..rest.len().min(RECORDS_MAX)];
            let request =
                RepairRequest::Fetch { table: self.table, purpose: self.purpose, wanted: chunk.to_vec() };
            let asked = self.reader.runtime.mono();
            let answer = self.peer.ask(request).await?;
            if self.reader.runtime.mono().since(asked) > ANSWER_AGE_MAX {
                return Err(RepairError::Unreachable("the answer is too old".to_owned()));
            }
            let RepairResponse::Records { answered, entries } = answer else {
                return Err(RepairError::Protocol("to Fetch"));
            };
            let answered = answered as usize;
            if answered == 0 || answered > chunk.len() || entries.len() > answered {
                return Err(RepairError::Protocol("number of records"));
            }
            outcome.records_received += entries.len() as u64;
            outcome.bytes += entries.iter().map(|e| entry_bytes(e) as u64).sum::<u64>();
            merge_all(self.local, self.table, entries).await?;
            rest = &rest[answered..];
        }
        if self.purpose == Purpose::Resync {
            let mut lacking = self.lacking.lock();
            let room = LACKING_MAX.saturating_sub(lacking.len());
            let alone = difference.mine.iter().filter(|(_, _, peers)| peers.is_none());
            lacking.extend(alone.take(room).map(|(token, key, _)| (*token, key.clone())));
        }
        if self.purpose.pushes() {
            self.send(&difference.mine, outcome).await?;
        }
        Ok(())
    }

    /// Sends the own records, as they are by now, to a peer that has them with another digest or not
    /// at all; those that the merge made equal to the peer's are left out.
    async fn send(
        &self,
        mine: &[(Token, Key, Option<Digest>)],
        outcome: &mut RepairOutcome,
    ) -> Result<(), RepairError> {
        let mut batch: Vec<Entry> = Vec::new();
        let mut bytes = 0;
        let mut read_at = self.reader.runtime.mono();
        for (token, key, peers) in mine {
            // It may have turned out meanwhile that data was lost here.
            self.local.store.serves(self.table, TokenRange { first: *token, last: *token })?;
            let Some(record) = self.local.store.get(self.table, *token, key.clone()).await? else { continue };
            if Some(record.digest()) == *peers {
                continue;
            }
            let entry = Entry { token: *token, key: key.clone(), record };
            let size = entry_bytes(&entry);
            if !batch.is_empty() && (batch.len() >= RECORDS_MAX || bytes + size > RECORD_BYTES_MAX) {
                self.send_batch(std::mem::take(&mut batch), read_at, outcome).await?;
                bytes = 0;
            }
            if batch.is_empty() {
                read_at = self.reader.runtime.mono();
            }
            bytes += size;
            outcome.bytes += size as u64;
            batch.push(entry);
        }
        if batch.is_empty() { Ok(()) } else { self.send_batch(batch, read_at, outcome).await }
    }

    async fn send_batch(
        &self,
        entries: Vec<Entry>,
        read_at: Mono,
        outcome: &mut RepairOutcome,
    ) -> Result<(), RepairError> {
        // After a pause of this process they may have been deleted, and the deletion forgotten.
        if self.reader.runtime.mono().since(read_at) > READ_AGE_MAX {
            return Err(RepairError::Unreachable("what was to be sent is too old".to_owned()));
        }
        outcome.records_sent += entries.len() as u64;
        match self.peer.ask(RepairRequest::Store { table: self.table, entries }).await? {
            RepairResponse::Stored { refused, .. } => {
                outcome.records_refused += u64::from(refused);
                Ok(())
            }
            _ => Err(RepairError::Protocol("to Store")),
        }
    }
}

/// What two lists of the same slice do not share. A record of which nothing is left since before the horizon does not
/// travel to a copy that has nothing under its key, or such a record too: that copy needs it no more.
#[derive(Debug, Default, PartialEq, Eq)]
struct Difference {
    /// Records that the peer has and this node has not, or has otherwise.
    theirs: Vec<Listed>,
    /// Records that this node has and the peer has not, or has otherwise (then with the peer's digest).
    mine: Vec<(Token, Key, Option<Digest>)>,
}

impl Difference {
    fn between(mine: Vec<(Listed, Key)>, theirs: &[Listed]) -> Difference {
        let mut unmatched: BTreeMap<(Token, Digest), Listed> =
            theirs.iter().map(|&l| ((l.token, l.key_hash), l)).collect();
        let mut difference = Difference::default();
        for (listed, key) in mine {
            match unmatched.remove(&(listed.token, listed.key_hash)) {
                None if listed.gone => {}
                None => difference.mine.push((listed.token, key, None)),
                Some(other) if other.gone && listed.gone => {}
                Some(other) if other.digest != listed.digest => {
                    difference.mine.push((listed.token, key, Some(other.digest)));
                    difference.theirs.push(other);
                }
                Some(_) => {}
            }
        }
        difference.theirs.extend(unmatched.into_values().filter(|listed| !listed.gone));
        difference
    }

    /// How many keys that are.
    fn keys(&self) -> u64 {
        let only_mine = self.mine.iter().filter(|(_, _, peers)| peers.is_none()).count();
        (self.theirs.len() + only_mine) as u64
    }
}

/// Slices in order, those that touch made one.
fn join_neighbours(slices: impl Iterator<Item = TokenRange>) -> VecDeque<TokenRange> {
    let mut joined: VecDeque<TokenRange> = VecDeque::new();
    for slice in slices {
        match joined.back_mut() {
            Some(last) if last.last.0.checked_add(1) == Some(slice.first.0) => last.last = slice.last,
            _ => joined.push_back(slice),
        }
    }
    joined
}
