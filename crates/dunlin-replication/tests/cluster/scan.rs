//! Scans: order, pages, merging of replicas that differ.

use crate::net::Link;
use crate::{Cluster, key};
use dunlin_replication::coordinator::{ScanPage, ScanRequest};
use dunlin_types::runtime::BoxFuture;
use dunlin_types::{ClusterError, Consistency, ErrorCode, Key, Token, TokenRange};
use std::sync::Arc;
use std::time::Duration;

async fn scan(
    cluster: &Cluster,
    node: usize,
    level: Consistency,
    after: Option<(Token, Key)>,
    limit: usize,
) -> Result<ScanPage, Box<ClusterError>> {
    let request = ScanRequest {
        table: Arc::clone(&cluster.siblings),
        range: TokenRange::ALL,
        after,
        limit,
        consistency: level,
        timeout: Duration::from_secs(2),
    };
    let page: BoxFuture<'_, _> = Box::pin(cluster.nodes[node].coordinator.scan(request));
    page.await
}

async fn scan_all(cluster: &Cluster, node: usize, level: Consistency, limit: usize) -> Vec<Key> {
    let mut after = None;
    let mut keys = Vec::new();
    loop {
        let page = scan(cluster, node, level, after, limit).await.unwrap();
        assert!(page.entries.len() <= limit);
        assert!(page.entries.is_sorted_by(|a, b| (a.token, &a.key) < (b.token, &b.key)));
        after = page.entries.last().map(|e| (e.token, e.key.clone()));
        keys.extend(page.entries.into_iter().map(|e| e.key));
        if !page.more {
            return keys;
        }
        assert!(after.is_some(), "a page with more has an entry");
    }
}

#[test]
fn pages_of_any_size_give_every_key_once() {
    let cluster = Cluster::new(5, 3);
    cluster.sim.run(async {
        let mut expected: Vec<Key> = (0..100).map(|i| key(&format!("k{i}"))).collect();
        for key in &expected {
            cluster.put(0, cluster.write(key, "v", Consistency::All)).await.unwrap();
        }
        expected.sort_by_key(|key| cluster.layout.token(key));
        for limit in [1, 7, 100, 1000] {
            for level in [Consistency::One, Consistency::Quorum, Consistency::All] {
                assert_eq!(scan_all(&cluster, 1, level, limit).await, expected, "{level}, {limit} a page");
            }
        }
    });
    let empty = Cluster::new(3, 3);
    empty.sim.run(async {
        assert!(scan_all(&empty, 0, Consistency::Quorum, 10).await.is_empty());
    });
}

#[test]
fn replicas_that_differ_are_merged() {
    let cluster = Cluster::new(3, 3);
    cluster.sim.run(async {
        for i in 0..30 {
            let node = i % 3;
            cluster.believe_down(node, &[(node + 1) % 3, (node + 2) % 3]);
            cluster.put(node, cluster.write(&key(&format!("k{i}")), "v", Consistency::One)).await.unwrap();
            cluster.believe_down(node, &[]);
        }
        for limit in [1, 4, 50] {
            assert_eq!(scan_all(&cluster, 0, Consistency::All, limit).await.len(), 30);
        }
    });
}

#[test]
fn a_lost_replica_is_stood_in_for() {
    let cluster = Cluster::new(4, 3);
    cluster.sim.run(async {
        for i in 0..20 {
            cluster.put(0, cluster.write(&key(&format!("k{i}")), "v", Consistency::All)).await.unwrap();
        }
        cluster.link(2, Link::Lost);
        assert_eq!(scan_all(&cluster, 0, Consistency::Quorum, 100).await.len(), 20);
        cluster.link(3, Link::Refused);
        let error = scan(&cluster, 0, Consistency::Quorum, None, 100).await.unwrap_err();
        assert!(matches!(error.code, ErrorCode::ReadTimeout | ErrorCode::ReadFailure));
        cluster.believe_down(0, &[2, 3]);
        let error = scan(&cluster, 0, Consistency::Quorum, None, 100).await.unwrap_err();
        assert_eq!(error.code, ErrorCode::Unavailable);
    });
}
