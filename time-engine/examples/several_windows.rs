//! One minute, five minutes, and one minute every thirty seconds over one stream, from one set of slices.
//! `cargo run -p time-engine --example several_windows`

use std::time::Duration;
use time_engine::{
    Result, Timestamp, Watermark,
    watermark::{BoundedOutOfOrderness, WatermarkGenerator},
    window::{Output, SharedWindows, Stats, WindowEngine, WindowSpec},
};

fn main() -> Result<()> {
    let minute = Duration::from_secs(60);
    let names = ["1 min", "5 min", "1 min / 30 s"];
    let windows = SharedWindows::new(
        Stats,
        vec![
            WindowSpec::tumbling(minute),
            WindowSpec::tumbling(5 * minute),
            WindowSpec::sliding(minute, minute / 2),
        ],
    )?;
    assert!(windows.shares_everything());

    let mut engine = WindowEngine::new(windows);
    let mut watermarks = BoundedOutOfOrderness::new(Duration::from_secs(10));
    let mut results = [0_u32; 3];
    let mut most_slices = 0;
    for second in 0..600_i64 {
        // Every eighth event is five seconds late.
        let late = if second % 8 == 0 { 5 } else { 0 };
        let at = Timestamp::from_millis((second - late) * 1_000);
        let value = 1 + second % 10;
        let mut show = |output: Output<'_, &str, SharedWindows<Stats>>| {
            if let Output::Result {
                spec,
                window,
                contents,
                ..
            } = output
            {
                results[spec] += 1;
                if spec == 1 {
                    let (count, sum) = (contents.count, contents.sum);
                    println!("{} {window}: {count} events, sum {sum}", names[spec]);
                }
            }
        };
        engine.on_element(&"shop", at, &value, &mut show)?;
        watermarks.on_event(&value, at, at);
        engine.on_watermark(watermarks.watermark(), &mut show);
        let slices = engine.states().map(|(_, state)| state.slices()).max();
        most_slices = most_slices.max(slices.unwrap_or(0));
    }
    engine.on_watermark(Watermark::MAX, |output| {
        if let Output::Result { spec, .. } = output {
            results[spec] += 1;
        }
    });
    println!("results of each kind: {results:?}; never more than {most_slices} slices");
    // The first event is of second -5, so each kind has windows before time 0.
    assert_eq!(results, [11, 3, 22]);
    assert!(
        most_slices <= 12,
        "five minutes in half-minutes, and what waits"
    );
    Ok(())
}
