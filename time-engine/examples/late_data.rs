//! Late data: in time, late but allowed, too late. `cargo run -p time-engine --example late_data`

use std::time::Duration;
use time_engine::{
    Result, Timestamp, Watermark,
    window::{Count, Output, SharedWindows, WindowEngine, WindowSpec},
};

/// Ten-second windows that stay open for five seconds after they fired.
fn run() -> Result<Vec<String>> {
    let seconds = Duration::from_secs;
    let spec = WindowSpec::tumbling(seconds(10)).with_allowed_lateness(seconds(5));
    let mut engine = WindowEngine::new(SharedWindows::new(Count::new(), vec![spec])?);
    let mut log = Vec::new();
    let script = [
        ("event", 1_000),
        ("event", 8_000),
        ("watermark", 9_999),
        ("event", 2_000),
        ("watermark", 14_998),
        ("event", 3_000),
        ("watermark", 14_999),
        ("event", 4_000),
    ];
    for (what, at) in script {
        let mut line = format!("{what} {at}:");
        let say = |output: Output<'_, &str, SharedWindows<Count<()>>>| match output {
            Output::Result {
                window, contents, ..
            } => line.push_str(&format!(" {window} has {contents}")),
            Output::Late { .. } => line.push_str(" too late"),
        };
        match what {
            "event" => engine.on_element(&"page", Timestamp::from_millis(at), &(), say)?,
            _ => engine.on_watermark(Watermark::from_millis(at), say),
        }
        log.push(line);
    }
    Ok(log)
}

fn main() -> Result<()> {
    let log = run()?;
    for line in &log {
        println!("{line}");
    }
    assert_eq!(log[2], "watermark 9999: [0, 10000) has 2");
    assert_eq!(log[3], "event 2000: [0, 10000) has 3", "fires again");
    assert_eq!(log[5], "event 3000: [0, 10000) has 4");
    assert_eq!(log[7], "event 4000: too late", "the window is gone");
    Ok(())
}
