//! What comparisons have proved, and what may therefore be forgotten: `repaired_at` and purge horizons.
//!
//! For a vnode of a table and a co-replica this node notes a time: *whatever deletion this copy holds that was written
//! before, the peer holds it too, or has nothing under its key*. An exchange that has ended proves that for the time
//! of its begin. Pairwise proofs are enough: once no other owner can show an older value, the deletion may go.
//!
//! A deletion may come late: written before that time, but here only now (a hint, another replica's repair, a clock
//! that is behind). Then the proof does not cover it, so **before** it is applied every time of its vnode goes back to
//! when it was written, those of exchanges under way and what compactions may forget included. No clock has to be
//! right for that.
//!
//! The *horizon* of a vnode is the latest time that anything was forgotten by. It never goes back, and is durable
//! before it is used: comparisons leave out what is gone since before it (see `exchange`), and a copy that was put
//! back to an older state may tell by it what had been deleted (`Resync`).

use dunlin_types::{Hlc, HostId, Micros, TableId, Token, TokenRange};
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::OnceLock;

/// Vnodes of tables that are kept; with more, those asked for last are not noted, and keep their deletions.
const VNODES_MAX: usize = 1 << 20;

/// Which side of an exchange this node is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Side {
    /// It began it.
    Asker,
    /// It was asked.
    Responder,
}

/// An exchange, as both sides name it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ExchangeId {
    /// The other side.
    pub peer: HostId,
    /// Which one this node is.
    pub side: Side,
    /// The asker's number.
    pub number: u64,
}

#[derive(Clone, Debug)]
struct Vnode {
    last: Token,
    with: BTreeMap<HostId, Micros>,
    running: Vec<(ExchangeId, Micros)>,
    /// What compactions may forget now is older.
    purge: Micros,
    horizon: Micros,
}

/// A vnode's proofs, as they are saved and shown.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct VnodeProof {
    /// Its tokens.
    pub range: TokenRange,
    /// By peer; see the module's comment.
    pub with: Vec<(HostId, Micros)>,
    /// See the module's comment.
    pub horizon: Micros,
}

/// Everything that is noted, by table.
pub type Proofs = BTreeMap<TableId, Vec<VnodeProof>>;

/// Told that less may be forgotten of a table than before, before the write that is the reason is applied.
pub type OnLowered = Box<dyn Fn(TableId) + Send + Sync>;

/// See the module's comment.
#[derive(Default)]
pub struct Compared {
    vnodes: Mutex<BTreeMap<(TableId, Token), Vnode>>,
    lowered: OnceLock<OnLowered>,
}

impl Compared {
    /// Names who is told when less may be forgotten. Only the first call counts.
    pub fn on_lowered(&self, told: OnLowered) {
        let _ = self.lowered.set(told);
    }

    /// An exchange begins; `now` is a reading of the hybrid clock from before the own copy was read. An earlier one
    /// with that peer on that side of it that has not ended counts no more.
    pub fn begin(&self, table: TableId, range: TokenRange, exchange: ExchangeId, now: Hlc) {
        let mut vnodes = self.vnodes.lock();
        let Some(vnode) = entry(&mut vnodes, table, range) else { return };
        vnode.running.retain(|(other, _)| (other.peer, other.side) != (exchange.peer, exchange.side));
        vnode.running.push((exchange, now));
    }

    /// An exchange has ended well, and what it moved is durable on both sides. One that is not running is ignored.
    pub fn ended(&self, table: TableId, range: TokenRange, exchange: ExchangeId) {
        let mut vnodes = self.vnodes.lock();
        let Some(vnode) = vnodes.get_mut(&(table, range.first)).filter(|v| v.last == range.last) else {
            return;
        };
        let Some(at) = vnode.running.iter().position(|(running, _)| *running == exchange) else { return };
        let (_, since) = vnode.running.swap_remove(at);
        let proved = vnode.with.entry(exchange.peer).or_default();
        *proved = since.max(*proved);
    }

    /// A record is about to be applied, or has just been, whose earliest deletion, or value with an expiry, was written then.
    pub fn taking(&self, table: TableId, token: Token, oldest: Hlc) {
        let lowered = {
            let mut vnodes = self.vnodes.lock();
            let found = vnodes.range_mut((table, Token(0))..=(table, token)).next_back();
            let Some((_, vnode)) = found.filter(|(_, vnode)| token <= vnode.last) else { return };
            vnode.with.values_mut().for_each(|proved| *proved = oldest.min(*proved));
            vnode.running.iter_mut().for_each(|(_, since)| *since = oldest.min(*since));
            let lowered = oldest < vnode.purge;
            vnode.purge = oldest.min(vnode.purge);
            lowered
        };
        if let (true, Some(told)) = (lowered, self.lowered.get()) {
            told(table);
        }
    }

    /// Before when all deletions of a vnode are at all of these peers; `Err`: it was not compared with that one yet.
    /// Without peers: at any time.
    pub fn repaired_at(
        &self,
        table: TableId,
        range: TokenRange,
        peers: &BTreeSet<HostId>,
    ) -> Result<Micros, HostId> {
        let vnodes = self.vnodes.lock();
        repaired_at(vnodes.get(&(table, range.first)), range, peers)
    }

    /// The horizon of a vnode: zero before anything of it was forgotten.
    pub fn horizon(&self, table: TableId, range: TokenRange) -> Micros {
        let vnodes = self.vnodes.lock();
        vnodes.get(&(table, range.first)).filter(|v| v.last == range.last).map_or(Micros(0), |v| v.horizon)
    }

    /// What of a vnode compactions may forget now is older; zero: nothing may go.
    pub fn allowed_before(&self, table: TableId, range: TokenRange) -> Micros {
        let vnodes = self.vnodes.lock();
        vnodes.get(&(table, range.first)).filter(|v| v.last == range.last).map_or(Micros(0), |v| v.purge)
    }

    /// Lets compactions forget what of the vnode was written before `before`, as far as the proofs go. The
    /// horizon must be durable already. Less than before is never allowed by this.
    pub fn allow(&self, table: TableId, range: TokenRange, peers: &BTreeSet<HostId>, before: Micros) {
        let mut vnodes = self.vnodes.lock();
        let proved = repaired_at(vnodes.get(&(table, range.first)), range, peers);
        let (Ok(proved), Some(vnode)) = (proved, entry(&mut vnodes, table, range)) else { return };
        vnode.purge = vnode.purge.max(before.min(proved));
        vnode.horizon = vnode.horizon.max(vnode.purge);
    }

    /// What compactions may forget of a table now: of each range, what was written and gone before.
    pub fn allowed(&self, table: TableId) -> Vec<(TokenRange, Micros)> {
        let vnodes = self.vnodes.lock();
        let of_table = vnodes.range((table, Token(0))..=(table, Token(u64::MAX)));
        of_table
            .filter(|(_, vnode)| vnode.purge > Micros(0))
            .map(|((_, first), vnode)| (TokenRange { first: *first, last: vnode.last }, vnode.purge))
            .collect()
    }

    /// This copy lost data of a range, or has a doubtful one: nothing is proved of it, and nothing of it is forgotten.
    pub fn forget(&self, table: TableId, range: TokenRange) {
        {
            let mut vnodes = self.vnodes.lock();
            for (_, vnode) in vnodes
                .range_mut((table, Token(0))..=(table, range.last))
                .filter(|(_, vnode)| vnode.last >= range.first)
            {
                vnode.with.clear();
                vnode.running.clear();
                vnode.purge = Micros(0);
            }
        }
        if let Some(told) = self.lowered.get() {
            told(table);
        }
    }

    /// Drops vnodes that are not wanted: their table is gone, or the node owns them no more.
    pub fn retain(&self, wanted: impl Fn(TableId, TokenRange) -> bool) {
        let range = |first: Token, vnode: &Vnode| TokenRange { first, last: vnode.last };
        self.vnodes.lock().retain(|(table, first), vnode| wanted(*table, range(*first, vnode)));
    }

    /// All that is noted.
    pub fn proofs(&self) -> Proofs {
        let mut proofs = Proofs::new();
        for ((table, first), vnode) in &*self.vnodes.lock() {
            proofs.entry(*table).or_default().push(VnodeProof {
                range: TokenRange { first: *first, last: vnode.last },
                with: vnode.with.iter().map(|(host, at)| (*host, *at)).collect(),
                horizon: vnode.horizon,
            });
        }
        proofs
    }

    /// Takes in what an earlier run of the node saved.
    pub fn restore(&self, proofs: Proofs) {
        let mut vnodes = self.vnodes.lock();
        for (table, saved) in proofs {
            for proof in saved {
                let Some(vnode) = entry(&mut vnodes, table, proof.range) else { return };
                vnode.with = proof.with.into_iter().collect();
                vnode.horizon = vnode.horizon.max(proof.horizon);
            }
        }
    }
}

fn entry(
    vnodes: &mut BTreeMap<(TableId, Token), Vnode>,
    table: TableId,
    range: TokenRange,
) -> Option<&mut Vnode> {
    let at = (table, range.first);
    if vnodes.len() >= VNODES_MAX && !vnodes.contains_key(&at) {
        return None;
    }
    let new = Vnode {
        last: range.last,
        with: BTreeMap::new(),
        running: Vec::new(),
        purge: Micros(0),
        horizon: Micros(0),
    };
    Some(vnodes.entry(at).or_insert(new)).filter(|vnode| vnode.last == range.last)
}

fn repaired_at(vnode: Option<&Vnode>, range: TokenRange, peers: &BTreeSet<HostId>) -> Result<Micros, HostId> {
    let vnode = vnode.filter(|vnode| vnode.last == range.last);
    let proved = |peer: &HostId| vnode.and_then(|v| v.with.get(peer)).copied().ok_or(*peer);
    peers.iter().try_fold(Micros(u64::MAX), |at, peer| Ok(at.min(proved(peer)?)))
}

#[cfg(test)]
mod tests {
    use super::*;

    const TABLE: TableId = TableId(1);
    const RANGE: TokenRange = TokenRange { first: Token(10), last: Token(19) };

    fn host(i: u64) -> HostId {
        HostId::from_words(i, 0)
    }

    fn exchange(peer: u64, number: u64) -> ExchangeId {
        ExchangeId { peer: host(peer), side: Side::Asker, number }
    }

    fn peers(ids: &[u64]) -> BTreeSet<HostId> {
        ids.iter().map(|i| host(*i)).collect()
    }

    fn compare(compared: &Compared, peer: u64, now: u64) {
        compared.begin(TABLE, RANGE, exchange(peer, now), Micros(now));
        compared.ended(TABLE, RANGE, exchange(peer, now));
    }

    #[test]
    fn a_vnode_is_repaired_as_of_its_least_recent_comparison() {
        let compared = Compared::default();
        let at = |ids: &[u64]| compared.repaired_at(TABLE, RANGE, &peers(ids));
        assert_eq!(at(&[]), Ok(Micros(u64::MAX)), "nobody else has it");
        compare(&compared, 1, 100);
        compare(&compared, 2, 50);
        assert_eq!(at(&[1]), Ok(Micros(100)));
        assert_eq!(at(&[1, 2]), Ok(Micros(50)));
        assert_eq!(at(&[1, 2, 3]), Err(host(3)));
        compare(&compared, 2, 40);
        assert_eq!(at(&[1, 2]), Ok(Micros(50)), "an older proof takes nothing back");
        let other = TokenRange { first: Token(10), last: Token(15) };
        assert_eq!(compared.repaired_at(TABLE, other, &peers(&[1])), Err(host(1)));
    }

    #[test]
    fn only_the_exchange_that_ended_counts() {
        let compared = Compared::default();
        let at = || compared.repaired_at(TABLE, RANGE, &peers(&[1]));
        compared.begin(TABLE, RANGE, exchange(1, 1), Micros(100));
        compared.begin(TABLE, RANGE, exchange(1, 2), Micros(200));
        compared.ended(TABLE, RANGE, exchange(1, 1));
        assert!(at().is_err(), "begun again");
        compared.ended(TABLE, RANGE, ExchangeId { side: Side::Responder, ..exchange(1, 2) });
        assert!(at().is_err());
        compared.ended(TABLE, RANGE, exchange(1, 2));
        assert_eq!(at(), Ok(Micros(200)));
        compared.ended(TABLE, RANGE, exchange(1, 3));
        assert_eq!(at(), Ok(Micros(200)));
    }

    #[test]
    fn a_deletion_that_comes_late_is_not_covered() {
        let compared = Compared::default();
        let at = |ids: &[u64]| compared.repaired_at(TABLE, RANGE, &peers(ids));
        compare(&compared, 1, 100);
        compared.taking(TABLE, Token(20), Micros(5));
        compared.taking(TABLE, Token(9), Micros(5));
        compared.taking(TableId(2), Token(12), Micros(5));
        compared.taking(TABLE, Token(12), Micros(150));
        assert_eq!(at(&[1]), Ok(Micros(100)));
        compared.begin(TABLE, RANGE, exchange(2, 7), Micros(200));
        compared.taking(TABLE, Token(19), Micros(80));
        compared.ended(TABLE, RANGE, exchange(2, 7));
        assert_eq!((at(&[1]), at(&[2])), (Ok(Micros(80)), Ok(Micros(80))));
        compare(&compared, 2, 300);
        assert_eq!(at(&[2]), Ok(Micros(300)));
    }

    #[test]
    fn what_may_be_forgotten_follows_the_proofs_both_ways() {
        let compared = Compared::default();
        let told = std::sync::Arc::new(Mutex::new(Vec::new()));
        let tell = told.clone();
        compared.on_lowered(Box::new(move |table| tell.lock().push(table)));
        compare(&compared, 1, 100);
        let both = peers(&[1, 2]);
        compared.allow(TABLE, RANGE, &both, Micros(90));
        assert_eq!(compared.allowed(TABLE), [], "not compared with the second one");
        compare(&compared, 2, 70);
        compared.allow(TABLE, RANGE, &both, Micros(90));
        assert_eq!(compared.allowed(TABLE), [(RANGE, Micros(70))]);
        compared.allow(TABLE, RANGE, &both, Micros(60));
        assert_eq!(compared.allowed(TABLE), [(RANGE, Micros(70))]);
        compared.taking(TABLE, Token(11), Micros(70));
        assert_eq!(*told.lock(), []);
        compared.taking(TABLE, Token(11), Micros(30));
        assert_eq!((compared.allowed(TABLE), told.lock().clone()), (vec![(RANGE, Micros(30))], vec![TABLE]));
        assert_eq!(compared.horizon(TABLE, RANGE), Micros(70), "the horizon never goes back");
        compared.forget(TABLE, TokenRange { first: Token(19), last: Token(30) });
        assert_eq!(compared.allowed(TABLE), []);
        assert_eq!(compared.horizon(TABLE, RANGE), Micros(70));
        assert!(compared.repaired_at(TABLE, RANGE, &both).is_err());
    }

    #[test]
    fn proofs_are_saved_and_come_back() {
        let compared = Compared::default();
        compare(&compared, 1, 100);
        compared.allow(TABLE, RANGE, &peers(&[1]), Micros(90));
        let next = Compared::default();
        next.restore(compared.proofs());
        assert_eq!(next.proofs(), compared.proofs());
        assert_eq!(next.allowed(TABLE), [], "is allowed anew once it is looked at");
        next.retain(|table, range| table == TABLE && range != RANGE);
        assert_eq!(next.proofs(), Proofs::new());
    }
}
