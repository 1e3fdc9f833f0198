//! Random histories of everything at once, against the model.

use crate::support::{Driver, TABLES, tiny};
use dunlin_storage::Lane;
use dunlin_types::{Token, TokenRange};

fn run(seed: u64) {
    let mut driver = Driver::new(seed, tiny());
    driver.start().expect("open");
    for _ in 0..250 {
        let what = driver.chance.below(104);
        match what {
            0..70 => driver.write().expect("write"),
            70..80 => {
                driver.engine().commit().expect("commit");
                driver.settle_durable();
            }
            80..82 => drop(driver.engine().write_out().expect("write out")),
            82..86 => drop(driver.engine().maintenance(Lane::Any).expect("maintenance")),
            86..90 => drop(driver.engine().maintenance(Lane::Compaction).expect("maintenance")),
            90..92 => driver.engine().flush(Some(TABLES[(what % 2) as usize])).expect("flush"),
            92 => driver.engine().compact(None).expect("compact"),
            93..95 => driver.check_reads(),
            95..97 => driver.maintain(),
            97..100 => {
                let writes = driver.chance.below(100);
                driver.set_purge(writes);
            }
            100 => delete_range(&mut driver),
            _ => {
                let power = if what == 101 { None } else { Some(driver.chance.random()) };
                driver.stop(power);
                driver.start().expect("open again");
                driver.check_recovered(&format!("seed {seed}"));
            }
        }
    }
    driver.check_reads();
}

fn delete_range(driver: &mut Driver) {
    let table = TABLES[driver.chance.below(2) as usize];
    let (a, b) = (Token(driver.chance.random()), Token(driver.chance.random()));
    let range = TokenRange { first: a.min(b), last: a.max(b) };
    driver.engine().delete_range(table, range).expect("delete");
    driver.settle_durable();
    let gone = |place: &(dunlin_types::TableId, Token, _)| place.0 == table && range.contains(place.1);
    driver.certain.retain(|place, _| !gone(place));
    assert!(driver.open.iter().all(|(_, place, _)| !gone(place)), "what was flushed is durable");
    driver.check_reads();
}

#[test]
fn histories_match_the_model() {
    (0..600).for_each(run);
}
