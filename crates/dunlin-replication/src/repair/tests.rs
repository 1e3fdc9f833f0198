//! Two copies in memory, and everything that travels between them.

use super::compared::Compared;
use super::exchange::{Exchange, Peer, RepairError, RepairOutcome};
use super::kept::KeptTrees;
use super::message::{Purpose, RangeRoot, RepairRequest, RepairResponse};
use super::read::Reader;
use super::respond::{Knowledge, Responder};
use super::tree::RecordHasher;
use super::watch::Watch;
use crate::local::Local;
use crate::message::{LayoutStamp, Refusal};
use crate::store::{Change, Durability, Entry, ReplicaStore, StoreError, Updated, WriteObserver};
use dunlin_types::record::Latest;
use dunlin_types::runtime::{BoxFuture, Clock, Rng, Runtime, SharedRuntime, TaskHandle};
use dunlin_types::{
    HlcClock, HostId, Key, Micros, Mono, PartitionerKey, Record, TableId, Token, TokenRange, Value,
};
use parking_lot::Mutex;
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::ops::Bound;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

const TABLE: TableId = TableId(1);

/// A runtime whose time passes at once.
struct Instantly;

impl Clock for Instantly {
    fn mono(&self) -> Mono {
        Mono(0)
    }
    fn wall(&self) -> Micros {
        Micros(0)
    }
}

impl Rng for Instantly {
    fn random(&self) -> u64 {
        0
    }
}

impl Runtime for Instantly {
    fn sleep(&self, _: Duration) -> BoxFuture<'static, ()> {
        Box::pin(async {})
    }
    fn spawn(&self, _: &'static str, _: BoxFuture<'static, ()>) -> TaskHandle {
        unreachable!("repair spawns nothing in an exchange")
    }
    fn die(&self, reason: &str) {
        panic!("{reason}")
    }
}

/// Runs a future that never has to wait.
fn run<T>(future: impl Future<Output = T>) -> T {
    let mut future = std::pin::pin!(future);
    match future.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(output) => output,
        Poll::Pending => panic!("the future waits"),
    }
}

/// A copy in memory.
#[derive(Default)]
struct MemoryStore {
    records: Mutex<BTreeMap<(Token, Key), Record>>,
    observer: OnceLock<Arc<dyn WriteObserver>>,
    scanned: AtomicU64,
}

impl ReplicaStore for MemoryStore {
    fn observe(&self, observer: Arc<dyn WriteObserver>) {
        let _ = self.observer.set(observer);
    }

    fn get(
        &self,
        _: TableId,
        token: Token,
        key: Key,
    ) -> BoxFuture<'static, Result<Option<Record>, StoreError>> {
        let found = self.records.lock().get(&(token, key)).cloned();
        Box::pin(async { Ok(found) })
    }

    fn merge(
        &self,
        table: TableId,
        token: Token,
        key: Key,
        record: Record,
        _: Durability,
    ) -> BoxFuture<'static, Result<(), StoreError>> {
        let observer = self.observer.get();
        observer.inspect(|observer| observer.taking(table, token, &record));
        let taken = record.clone();
        self.records.lock().entry((token, key)).and_modify(|r| r.merge(&record)).or_insert(record);
        observer.inspect(|observer| observer.taken(table, token, &taken));
        Box::pin(async { Ok(()) })
    }

    fn update(
        &self,
        _: TableId,
        _: Token,
        _: Key,
        _: Change,
        _: Durability,
    ) -> BoxFuture<'static, Result<Updated, StoreError>> {
        unreachable!("repair only merges")
    }

    fn scan(
        &self,
        _: TableId,
        range: TokenRange,
        after: Option<(Token, Key)>,
        limit: usize,
        _: usize,
    ) -> BoxFuture<'static, Result<Vec<Entry>, StoreError>> {
        let lowest = (range.first, Key::new(vec![0]).unwrap());
        let from = match after {
            Some(place) if place >= lowest => Bound::Excluded(place),
            _ => Bound::Included(lowest),
        };
        let records = self.records.lock();
        let inside =
            records.range((from, Bound::Unbounded)).take_while(|((token, _), _)| *token <= range.last);
        let page = inside.take(limit).map(|((token, key), record)| Entry {
            token: *token,
            key: key.clone(),
            record: record.clone(),
        });
        let page: Vec<Entry> = page.collect();
        self.scanned.fetch_add(page.len() as u64, Ordering::Relaxed);
        let page = Ok(page);
        Box::pin(async { page })
    }
}

struct Knows {
    version: u64,
}

impl Knowledge for Knows {
    fn newest_layout(&self) -> LayoutStamp {
        LayoutStamp { version: self.version, digest: 0 }
    }
    fn tables(&self) -> Vec<TableId> {
        vec![TABLE]
    }
    fn owns(&self, _: TableId, token: Token) -> bool {
        token != NOT_OWNED
    }
    fn is_vnode(&self, _: TokenRange) -> bool {
        true
    }
    fn partitioner(&self) -> Option<PartitionerKey> {
        Some(PARTITIONER)
    }
}

const PARTITIONER: PartitionerKey = PartitionerKey([5; 16]);
const ASKER: HostId = HostId([9; 16]);
const NOT_OWNED: Token = Token(u64::MAX);

struct Node {
    store: Arc<MemoryStore>,
    reader: Reader,
    local: Local,
    responder: Responder,
    compared: Arc<Compared>,
}

impl Node {
    fn new(page_records: usize) -> Node {
        let runtime: SharedRuntime = Arc::new(Instantly);
        let store = Arc::new(MemoryStore::default());
        let local = Local::new(store.clone(), runtime.clone(), Arc::new(HlcClock::default()));
        let trees = Arc::new(KeptTrees::new(1 << 16));
        let compared = Arc::new(Compared::default());
        store.observe(Arc::new(Watch { trees: trees.clone(), compared: compared.clone() }));
        let reader = Reader {
            runtime,
            store: store.clone(),
            trees,
            foreground: Arc::default(),
            page_records,
            page_bytes: 1 << 20,
            page_pause: Duration::ZERO,
        };
        let responder =
            Responder::new(reader.clone(), local.clone(), compared.clone(), Arc::new(Knows { version: 5 }));
        Node { store, reader, local, responder, compared }
    }

    fn put(&self, token: u64, key: u32, written: u64) {
        let value = Value {
            written: Micros(written),
            expires: None,
            data: Some(written.to_be_bytes().to_vec().into()),
        };
        let record = Record::Latest(Latest { host: HostId([1; 16]), value });
        let key = Key::new(key.to_be_bytes().to_vec()).unwrap();
        run(self.store.merge(TABLE, Token(token), key, record, Durability::Synced)).unwrap();
    }

    fn delete(&self, token: u64, key: u32, written: u64) {
        let value = Value { written: Micros(written), expires: None, data: None };
        let record = Record::Latest(Latest { host: HostId([1; 16]), value });
        let key = Key::new(key.to_be_bytes().to_vec()).unwrap();
        run(self.store.merge(TABLE, Token(token), key, record, Durability::Synced)).unwrap();
    }

    /// As after a purge of what was deleted before.
    fn purged(&self, before: u64) {
        self.compared.allow(TABLE, RANGE, &BTreeSet::new(), Micros(before));
    }

    fn contents(&self) -> BTreeMap<(Token, Key), Record> {
        self.store.records.lock().clone()
    }
}

/// The way to a node that answers at once, and counts.
struct Wire<'a> {
    node: &'a Node,
    asked: Mutex<Vec<&'static str>>,
}

impl Peer for Wire<'_> {
    fn ask(&self, request: RepairRequest) -> BoxFuture<'_, Result<RepairResponse, RepairError>> {
        self.asked.lock().push(match &request {
            RepairRequest::List { .. } => "list",
            RepairRequest::Fetch { .. } => "fetch",
            RepairRequest::Store { .. } => "store",
            _ => "tree",
        });
        Box::pin(async move {
            match self.node.responder.handle(ASKER, request).await {
                RepairResponse::Refused(refusal) => Err(RepairError::Refused(refusal)),
                response => Ok(response),
            }
        })
    }
}

fn exchange(
    a: &Node,
    b: &Node,
    range: TokenRange,
    purpose: Purpose,
) -> (Result<RepairOutcome, RepairError>, Vec<&'static str>) {
    let wire = Wire { node: b, asked: Mutex::default() };
    let outcome = run(async {
        let hasher = RecordHasher::new(PARTITIONER);
        let horizon = Micros(0);
        let root = a.reader.tree(&hasher, TABLE, range, horizon).await?.0.root();
        let ranges = vec![RangeRoot { range, horizon, root }];
        let roots = RepairRequest::Roots { layout: 5, table: TABLE, purpose, exchange: 1, ranges };
        let RepairResponse::Differ { compared: 1, differing, .. } = wire.ask(roots).await? else {
            return Err(RepairError::Protocol("to Roots"));
        };
        let Some(theirs) = differing.first() else { return Ok(RepairOutcome::default()) };
        let (reader, local) = (&a.reader, &a.local);
        let (hasher, lacking) = (&hasher, Mutex::default());
        let exchange = Exchange { reader, hasher, local, peer: &wire, table: TABLE, purpose, lacking };
        exchange.run(range, *theirs).await
    });
    (outcome, wire.asked.into_inner())
}

/// Tokens spread over the range as a hash would.
fn spread(i: u32) -> u64 {
    u64::from(i).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 8
}

const RANGE: TokenRange = TokenRange { first: Token(0), last: Token((1 << 56) - 1) };

#[test]
fn equal_copies_cost_one_question() {
    let (a, b) = (Node::new(100), Node::new(7));
    for i in 0..2000 {
        a.put(spread(i), i, 1);
        b.put(spread(i), i, 1);
    }
    let (outcome, asked) = exchange(&a, &b, RANGE, Purpose::Repair);
    assert_eq!((outcome, asked), (Ok(RepairOutcome::default()), vec!["tree"]));
}

#[test]
fn one_difference_among_many_travels_alone() {
    let (a, b) = (Node::new(500), Node::new(500));
    for i in 0..20_000 {
        a.put(spread(i), i, 1);
        b.put(spread(i), i, 1);
    }
    b.put(spread(77), 77, 2);
    let (outcome, asked) = exchange(&a, &b, RANGE, Purpose::Repair);
    let outcome = outcome.unwrap();
    assert_eq!((outcome.leaves_differing, outcome.records_sent, outcome.records_received), (1, 0, 1));
    assert_eq!(asked, ["tree", "tree", "tree", "tree", "list", "fetch"]);
    assert_eq!(a.contents(), b.contents());
}

#[test]
fn an_empty_copy_gets_everything_and_the_other_way_round() {
    for (from_a, direction) in [(false, Purpose::Repair), (true, Purpose::Repair), (false, Purpose::Transfer)]
    {
        let (a, b) = (Node::new(300), Node::new(300));
        for i in 0..10_000 {
            if from_a { &a } else { &b }.put(spread(i), i, 1);
        }
        let outcome = exchange(&a, &b, RANGE, direction).0.unwrap();
        assert_eq!(outcome.records_sent + outcome.records_received, 10_000);
        assert_eq!(a.contents(), b.contents());
        assert!(outcome.bytes > 10_000 * 32);
    }
}

#[test]
fn a_pull_sends_nothing() {
    let (a, b) = (Node::new(100), Node::new(100));
    a.put(1, 1, 1);
    b.put(2, 2, 1);
    let outcome = exchange(&a, &b, RANGE, Purpose::Transfer).0.unwrap();
    assert_eq!((outcome.records_sent, outcome.records_received), (0, 1));
    assert_eq!((a.contents().len(), b.contents().len()), (2, 1));
}

#[test]
fn keys_that_share_a_token_are_told_apart() {
    for page in [1, 2, 100] {
        let (a, b) = (Node::new(page), Node::new(page));
        for key in 0..5 {
            a.put(9, key, 1);
            b.put(9, key, 1);
        }
        a.put(9, 10, 1);
        b.put(9, 11, 1);
        b.put(9, 3, 2);
        let outcome = exchange(&a, &b, RANGE, Purpose::Repair).0.unwrap();
        assert_eq!((outcome.records_sent, outcome.records_received), (1, 2));
        assert_eq!(a.contents(), b.contents());
    }
}

#[test]
fn what_the_peer_does_not_own_is_not_forced_on_it() {
    let (a, b) = (Node::new(10), Node::new(10));
    a.put(NOT_OWNED.0, 1, 1);
    exchange(&a, &b, TokenRange::ALL, Purpose::Repair).0.unwrap();
    assert!(b.contents().is_empty());
}

#[test]
fn questions_over_a_bound_are_refused() {
    let node = Node::new(10);
    let whole = TokenRange::ALL;
    let (horizon, purpose) = (Micros(0), Purpose::Repair);
    let roots = |layout, range| RepairRequest::Roots {
        layout,
        table: TABLE,
        purpose,
        exchange: 1,
        ranges: vec![RangeRoot { range, horizon, root: [0; 16] }],
    };
    let nodes = |level, down, parent| RepairRequest::Nodes {
        table: TABLE,
        range: whole,
        horizon,
        level,
        down,
        parents: vec![parent],
    };
    let backwards = TokenRange { first: Token(2), last: Token(1) };
    let questions = [
        RepairRequest::Tables { layout: 6 },
        roots(6, whole),
        roots(0, backwards),
        RepairRequest::Roots {
            layout: 0,
            table: TABLE,
            purpose,
            exchange: 1,
            ranges: vec![RangeRoot { range: whole, horizon, root: [0; 16] }; 1000],
        },
        RepairRequest::List { table: TABLE, purpose, horizon, slices: vec![whole; 1000], after: None },
        RepairRequest::Fetch { table: TABLE, purpose, wanted: vec![(Token(0), [0; 16]); 1000] },
        nodes(255, 255, u32::MAX),
    ];
    for question in questions {
        assert!(matches!(run(node.responder.handle(ASKER, question)), RepairResponse::Refused(_)));
    }
    let behind = run(node.responder.handle(ASKER, RepairRequest::Tables { layout: 6 }));
    assert_eq!(behind, RepairResponse::Refused(Refusal::Behind(LayoutStamp { version: 5, digest: 0 })));
    for i in 0..100 {
        node.put(u64::from(i).wrapping_mul(0x9e37_79b9_7f4a_7c15), i, 1);
    }
    let cases: [(u8, u8, u32, bool); 5] =
        [(0, 3, 0, true), (3, 1, 0, false), (0, 1, 1, false), (2, 1, 3, true), (2, 1, u32::MAX, false)];
    for (level, down, parent, fine) in cases {
        let answer = run(node.responder.handle(ASKER, nodes(level, down, parent)));
        assert_eq!(matches!(answer, RepairResponse::Nodes(_)), fine, "level {level} parent {parent}");
    }
}

#[test]
fn copies_that_were_compared_are_not_read_again() {
    let (a, b) = (Node::new(100), Node::new(100));
    for i in 0..5000 {
        a.put(spread(i), i, 1);
        b.put(spread(i), i, 1);
    }
    exchange(&a, &b, RANGE, Purpose::Repair).0.unwrap();
    let scanned = || a.store.scanned.load(Ordering::Relaxed) + b.store.scanned.load(Ordering::Relaxed);
    let before = scanned();
    exchange(&a, &b, RANGE, Purpose::Repair).0.unwrap();
    assert_eq!(scanned() - before, 0);
    b.put(spread(7), 7, 2);
    let outcome = exchange(&a, &b, RANGE, Purpose::Repair).0.unwrap();
    assert_eq!((outcome.leaves_differing, outcome.records_differing), (1, 1));
    let read = scanned() - before;
    assert!((1..200).contains(&read), "{read} records read for one leaf");
    assert_eq!(a.contents(), b.contents());
}

#[test]
fn what_one_copy_forgot_does_not_travel_back() {
    for (before, travels) in [(5, true), (10, true), (11, false)] {
        let (a, b) = (Node::new(100), Node::new(100));
        b.purged(before);
        a.delete(1, 1, 10);
        a.put(2, 2, 3);
        b.put(3, 3, 3);
        let outcome = exchange(&a, &b, RANGE, Purpose::Repair).0.unwrap();
        assert_eq!(outcome.records_received, 1);
        assert_eq!(outcome.records_sent, 1 + u64::from(travels), "horizon {before}");
        assert_eq!(exchange(&a, &b, RANGE, Purpose::Repair).0.unwrap(), RepairOutcome::default());
    }
}

#[test]
fn two_deletions_of_a_key_that_are_both_forgettable_stay_where_they_are() {
    let (a, b) = (Node::new(100), Node::new(100));
    b.purged(20);
    a.delete(1, 1, 10);
    b.delete(1, 1, 11);
    a.put(1, 2, 3);
    let outcome = exchange(&a, &b, RANGE, Purpose::Repair).0.unwrap();
    assert_eq!((outcome.records_sent, outcome.records_received), (1, 0));
}

#[test]
fn a_deletion_older_than_the_horizon_reaches_what_it_deletes() {
    for from_a in [true, false] {
        let (a, b) = (Node::new(100), Node::new(100));
        let (one, other) = if from_a { (&a, &b) } else { (&b, &a) };
        b.purged(20);
        one.delete(1, 1, 10);
        other.put(1, 1, 8);
        exchange(&a, &b, RANGE, Purpose::Repair).0.unwrap();
        assert_eq!(a.contents(), b.contents());
        assert!(a.contents().values().all(Record::is_tombstone));
    }
}

#[test]
fn a_preview_moves_nothing() {
    let (a, b) = (Node::new(100), Node::new(100));
    a.put(1, 1, 1);
    a.put(3, 3, 1);
    b.put(2, 2, 1);
    b.put(3, 3, 2);
    let outcome = exchange(&a, &b, RANGE, Purpose::Preview).0.unwrap();
    assert_eq!(outcome.records_differing, 3);
    assert_eq!(outcome.records_sent + outcome.records_received + outcome.bytes, 0);
    assert_eq!((a.contents().len(), b.contents().len()), (2, 2));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn copies_end_equal_and_only_differences_travel(
        shared in 0u32..400,
        mine in prop::collection::btree_map(0u32..600, 1u64..4, 0..40),
        theirs in prop::collection::btree_map(0u32..600, 1u64..4, 0..40),
        page in 1usize..50,
    ) {
        let (a, b) = (Node::new(page), Node::new(page + 3));
        for i in 0..shared {
            a.put(spread(i), i, 2);
            b.put(spread(i), i, 2);
        }
        for (&i, &written) in &mine {
            a.put(spread(i), i, written);
        }
        for (&i, &written) in &theirs {
            b.put(spread(i), i, written);
        }
        let (before_a, before_b) = (a.contents(), b.contents());
        let keys: BTreeSet<_> = before_a.keys().chain(before_b.keys()).collect();
        let differing = keys.into_iter().filter(|k| before_a.get(*k) != before_b.get(*k)).count() as u64;
        let outcome = exchange(&a, &b, RANGE, Purpose::Repair).0.unwrap();
        prop_assert_eq!(a.contents(), b.contents());
        prop_assert!(outcome.records_sent <= differing && outcome.records_received <= differing, "{outcome:?} of {differing}");
        for (key, record) in before_a.iter().chain(&before_b) {
            let mut merged = record.clone();
            merged.merge(&a.contents()[key]);
            prop_assert_eq!(&merged, &a.contents()[key], "nothing is lost");
        }
        prop_assert_eq!(exchange(&b, &a, RANGE, Purpose::Repair).0.unwrap(), RepairOutcome::default());
    }
}
