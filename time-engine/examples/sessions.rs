//! Visits of users: a visit ends after half an hour of silence. `cargo run -p time-engine --example sessions`

use std::time::Duration;
use time_engine::{
    Result, Timestamp, Watermark,
    window::{Collect, Output, SharedWindows, WindowEngine, WindowSpec},
};

const MINUTE_MS: i64 = 60_000;

fn main() -> Result<()> {
    let spec = WindowSpec::session(Duration::from_secs(30 * 60));
    let mut engine = WindowEngine::new(SharedWindows::new(Collect::new(), vec![spec])?);

    // (minute, user, page), not in order: the third click joins what looked like two visits.
    let clicks = [
        (0, "ann", "home"),
        (55, "ann", "cart"),
        (28, "ann", "shoes"),
        (10, "bob", "home"),
        (120, "ann", "home"),
    ];
    for (minute, user, page) in clicks {
        let at = Timestamp::from_millis(minute * MINUTE_MS);
        engine.on_element(&user, at, &page, |_| {})?;
    }

    let mut visits = Vec::new();
    engine.on_watermark(Watermark::MAX, |output| {
        if let Output::Result {
            key,
            window,
            contents,
            ..
        } = output
        {
            let from = window.start().as_millis() / MINUTE_MS;
            let to = window.end().as_millis() / MINUTE_MS;
            visits.push(format!(
                "{key}: minutes {from} to {to}, {} clicks",
                contents.len()
            ));
        }
    });
    for visit in &visits {
        println!("{visit}");
    }
    assert_eq!(
        visits,
        [
            "bob: minutes 10 to 40, 1 clicks",
            "ann: minutes 0 to 85, 3 clicks",
            "ann: minutes 120 to 150, 1 clicks",
        ]
    );
    assert_eq!(engine.keys(), 0, "nothing is left behind");
    Ok(())
}
