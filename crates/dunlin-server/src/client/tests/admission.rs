//! Who gets a place, in which order, and who does not.

use super::{TestNode, run};
use crate::client::admission::{Admission, AdmissionSettings, Place};
use crate::client::limit::LimitSettings;
use crate::client::{ClientSettings, Session};
use dunlin_types::ErrorCode;
use dunlin_types::runtime::SharedRuntime;
use std::sync::{Arc, Mutex};
use std::time::Duration;

const LONG: Duration = Duration::from_secs(30);

async fn admission(places: usize, queue: usize, wait: Duration) -> (Arc<Admission>, SharedRuntime) {
    let runtime = TestNode::start().await.services.runtime().clone();
    let limit = LimitSettings { floor: places, ceiling: places, target: Duration::from_millis(100) };
    (Admission::new(runtime.clone(), AdmissionSettings { limit, queue, wait }), runtime)
}

/// Lets everything that can go on go on.
async fn settle() {
    for _ in 0..20 {
        tokio::task::yield_now().await;
    }
}

/// Asks for a place for each connection in turn, all while `first` is held, then lets one after the other go:
/// the order in which they were served.
async fn order(admission: &Arc<Admission>, connections: &[u64]) -> Vec<u64> {
    let first = admission.enter(99, LONG).await.unwrap_or_else(|_| panic!("there is a place"));
    let served: Arc<Mutex<Vec<(u64, Option<Place>)>>> = Arc::default();
    let tasks: Vec<_> = connections
        .iter()
        .map(|&connection| {
            let (admission, served) = (Arc::clone(admission), Arc::clone(&served));
            tokio::spawn(async move {
                if let Ok(place) = admission.enter(connection, LONG).await {
                    served.lock().unwrap().push((connection, Some(place)));
                }
            })
        })
        .collect();
    settle().await;
    drop(first);
    loop {
        settle().await;
        let place = served.lock().unwrap().last_mut().and_then(|(_, place)| place.take());
        match place {
            Some(place) => drop(place),
            None => break,
        }
    }
    for task in tasks {
        task.await.unwrap();
    }
    let served = served.lock().unwrap();
    served.iter().map(|(connection, _)| *connection).collect()
}

#[test]
fn connections_are_served_in_turn() {
    run(async {
        let (admission, _) = admission(1, 100, LONG).await;
        assert_eq!(order(&admission, &[1, 1, 1, 1, 2, 2, 3]).await, [1, 2, 3, 1, 2, 1, 1]);
        assert_eq!(admission.stats().at_work, 0);
        assert_eq!(admission.stats().refused, 0);
    });
}

#[test]
fn who_waits_for_most_makes_room() {
    run(async {
        let (admission, _) = admission(1, 3, LONG).await;
        // The third of 1 is refused for 2; the second of 2 finds nobody who waits for more than it does.
        assert_eq!(order(&admission, &[1, 1, 1, 2, 2]).await, [1, 2, 1]);
        assert_eq!(admission.stats().refused, 2);
        assert_eq!(admission.stats().waiting, 0);
    });
}

#[test]
fn a_wait_ends_with_a_refusal_that_says_when_to_come_again() {
    run(async {
        let (admission, _) = admission(1, 100, Duration::from_millis(20)).await;
        let place = admission.enter(1, LONG).await;
        assert!(place.is_ok());
        let refused = admission.enter(2, LONG).await.err().expect("nobody leaves");
        assert!(
            refused.retry_after >= Duration::from_millis(20) && refused.retry_after <= Duration::from_secs(2)
        );
        drop(place);
        assert!(admission.enter(2, LONG).await.is_ok());
    });
}

#[test]
fn those_who_give_up_leave_no_trace() {
    run(async {
        let (admission, _) = admission(1, 100, LONG).await;
        let place = admission.enter(1, LONG).await;
        let waiting: Vec<_> = (0..5)
            .map(|connection| {
                let admission = Arc::clone(&admission);
                tokio::spawn(async move { admission.enter(connection, LONG).await.map(drop) })
            })
            .collect();
        settle().await;
        assert_eq!(admission.stats().waiting, 5);
        waiting[..4].iter().for_each(|task| task.abort());
        settle().await;
        drop(place);
        settle().await;
        assert!(waiting[4].is_finished());
        let stats = admission.stats();
        assert_eq!((stats.at_work, stats.waiting), (0, 0));
    });
}

#[test]
fn a_statement_without_hope_is_answered_unread() {
    run(async {
        let limit = LimitSettings { floor: 1, ceiling: 1, target: Duration::from_millis(100) };
        let admission = AdmissionSettings { limit, queue: 0, wait: LONG };
        let node = TestNode::with(ClientSettings { admission, ..ClientSettings::default() }).await;
        let mut session = Session::new(Arc::clone(&node.services));
        assert!(session.shed("SELECT nonsense").is_none(), "there is a place");
        let place = node.services.admission.enter(1, LONG).await;
        assert!(place.is_ok());
        let refused = session.shed("  SELECT nonsense").expect("there is none");
        assert_eq!(refused.code(), Some(ErrorCode::Overloaded));
        assert!(String::from_utf8_lossy(&refused.to_bytes()).contains("applied=no"));
        for other in ["CONSISTENCY ONE", "USE dunlin", "SHOW VERSION", "-- a comment\nSELECT 1", ""] {
            assert!(session.shed(other).is_none(), "{other}");
        }
        drop(place);
        assert_eq!(session.execute("SELECT * FROM kv WHERE key = 'a'").await.code(), None);
    });
}
