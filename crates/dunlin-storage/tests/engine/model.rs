//! Random histories of everything at once, against the model.

use crate::support::{Driver, tiny};
use dunlin_storage::Lane;

fn run(seed: u64) {
    let mut driver = Driver::new(seed, tiny());
    driver.start().expect("open");
    for _ in 0..250 {
        let what = driver.chance.below(100);
        match what {
            0..70 => driver.write().expect("write"),
            70..80 => {
                driver.engine().commit().expect("commit");
                driver.settle_durable();
            }
            80..82 => drop(driver.engine().write_out().expect("write out")),
            82..90 => drop(driver.engine().maintenance(Lane::Any).expect("maintenance")),
            90..92 => driver.engine().flush(None).expect("flush"),
            92 => driver.engine().compact(None).expect("compact"),
            93..95 => driver.check_reads(),
            95..97 => driver.maintain(),
            _ => {
                let power = if what == 97 { None } else { Some(driver.chance.random()) };
                driver.stop(power);
                driver.start().expect("open again");
                driver.check_recovered(&format!("seed {seed}"));
            }
        }
    }
    driver.check_reads();
}

#[test]
fn histories_match_the_model() {
    (0..300).for_each(run);
}
