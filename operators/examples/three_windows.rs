//! Three windows over one stream at once, on watermarks whose delay follows how late elements come.

use operators::{JobConfig, Result, StreamEnvironment, VecSource};
use std::time::Duration;
use time_engine::watermark::DynamicWatermarks;
use time_engine::window::{SharedWindows, Stats, WindowSpec};
use time_engine::{Clock, ManualClock, Timestamp};

fn main() -> Result<()> {
    // ten minutes of readings of two sensors, one a second; every tenth comes 30 s late
    let readings = (0..600_i64).map(|second| {
        let late = if second % 10 == 0 { 30 } else { 0 };
        (second % 2, (second - late).max(0) * 1_000, second)
    });
    let clock = ManualClock::new(Timestamp::from_millis(600_000));
    let env = StreamEnvironment::new();
    let results = env
        .source("readings", VecSource::new(readings))
        // 1.5 times the mean delay of the last 100 elements, and never less than a minute
        .assign_timestamps(
            |(_, at, _)| Timestamp::from_millis(*at),
            || DynamicWatermarks::new(Duration::from_secs(60)),
        )
        .key_by(|(sensor, ..)| *sensor)
        .window_of(
            "statistics",
            |(.., value)| *value,
            || {
                let minute = Duration::from_secs(60);
                let specs = vec![
                    WindowSpec::tumbling(minute),
                    WindowSpec::tumbling(5 * minute),
                    WindowSpec::sliding(minute, minute / 2),
                ];
                SharedWindows::new(Stats, specs)
            },
        )
        .collect("out");
    println!("at {:?}", clock.now());
    env.execute(JobConfig::default().with_clock(clock))?
        .wait()?;
    let mut elements = [0; 3];
    for result in results.take() {
        elements[result.spec] += result.value.count;
        if result.spec == 1 {
            let (key, window) = (result.key, result.window);
            println!("sensor {key}, {window:?}: {:?}", result.value);
        }
    }
    // each element is in one window of the tumbling kinds and in two sliding ones
    assert_eq!(elements, [600, 600, 1_200]);
    Ok(())
}
