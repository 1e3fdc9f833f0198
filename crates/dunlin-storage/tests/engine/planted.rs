//! The planted bugs do harm, so that the simulator's checkers have something to find.

use crate::support::{Driver, TABLES, key, latest, tiny, value};
use dunlin_storage::fs::Fs;
use dunlin_storage::{Engine, LogPosition};
use dunlin_types::runtime::PlantedBug;
use std::sync::Arc;

#[test]
fn reads_wait_for_synced_writes_only() {
    for planted in [None, Some(PlantedBug::VisibleBeforeSync)] {
        let mut driver = Driver::new(1, tiny());
        driver.options.planted = planted;
        driver.start().expect("open");
        let (token, key) = key(1);
        let engine = driver.engine.as_ref().expect("open");
        let mut put = |counter, synced| {
            let record = latest(value(&mut driver.chance, counter));
            engine.merge(TABLES[0], token, &key, &record, synced).expect("write")
        };
        let visible = || {
            let scanned = engine.scan(TABLES[0], dunlin_types::TokenRange::ALL, None, 9, 999).expect("scan");
            let found = engine.get(TABLES[0], token, &key).expect("get").expect("found");
            assert_eq!(found.visible_at, scanned.visible_at);
            found.visible_at
        };
        put(1, false);
        assert_eq!(visible(), LogPosition(0), "buffered");
        let position = put(2, true);
        assert!(position > engine.durable());
        assert_eq!(visible(), if planted.is_none() { position } else { LogPosition(0) });
        put(3, false);
        assert_eq!(visible(), if planted.is_none() { position } else { LogPosition(0) });
        assert!(engine.commit().expect("commit") >= position);
        assert_eq!(visible(), LogPosition(0), "durable");
    }
}

#[test]
fn an_unchecked_log_takes_damage_for_data() {
    let mut driver = Driver::new(2, tiny());
    driver.start().expect("open");
    for _ in 0..20 {
        driver.write().expect("write");
    }
    driver.engine().commit().expect("commit");
    driver.settle_durable();
    driver.stop(None);
    let logs: Vec<_> =
        driver.fs.list("commitlog").expect("list").into_iter().filter(|e| e.name.ends_with(".log")).collect();
    let path = format!("commitlog/{}", logs.last().expect("a segment").name);
    let mut wrong = 0;
    for offset in (600..1_500).step_by(10) {
        let fs = driver.fs.fork();
        fs.flip_bit(&path, offset, 0);
        let mut options = tiny();
        options.planted = Some(PlantedBug::LogUnchecked);
        if let Ok(engine) = Engine::open(Arc::new(fs), options) {
            wrong += u32::from(crate::support::try_all(&engine).is_ok_and(|rows| rows != driver.certain));
        }
    }
    assert!(wrong > 10, "{wrong}");
}
