//! Watermark generators, their operator, the valve, two inputs and the multiplexer.

use super::{
    Outcome,
    compare::{self, Order, number, step_number},
};
use serde_json::{Value, json};
use std::time::Duration;
use time_engine::{
    Timestamp, Watermark,
    watermark::{
        AssignerOptions, BoundedOutOfOrderness, Emission, Monotonous, NoWatermarks, Punctuated,
        Signal, WatermarkAssigner, WatermarkGenerator, WatermarkMerge, WatermarkMultiplexer,
        WatermarkStatus, WatermarkValve,
    },
};

type Generator = Box<dyn WatermarkGenerator<Value>>;

/// Runs one case.
pub(super) fn check(case: &Value) -> Result<Outcome, String> {
    let config = &case["config"];
    let script = compare::script(case)?;
    let mut output = Vec::new();
    match config["type"].as_str() {
        Some("generator") => match generator(config)? {
            Some(mut generator) => bare(&mut generator, script, &mut output),
            None => output.push(json!({"step": -1, "error": {}})),
        },
        Some("operator") => match generator(config)? {
            Some(generator) => operator(generator, config, script, &mut output)?,
            None => output.push(json!({"step": -1, "error": {}})),
        },
        Some("valve") => {
            let channels =
                usize::try_from(number(config, "channels")?).map_err(|e| e.to_string())?;
            let mut valve = WatermarkValve::new(channels);
            channel_steps(script, &mut output, |channel, news, out| match news {
                Signal::Watermark(watermark) => valve.on_watermark(channel, watermark, out),
                Signal::Status(status) => valve.on_status(channel, status, out),
            })?;
        }
        Some("two_input") => {
            let mut merge = WatermarkMerge::new(2);
            channel_steps(script, &mut output, |channel, news, out| match news {
                Signal::Watermark(watermark) => merge.on_watermark(channel, watermark, out),
                Signal::Status(status) => merge.on_status(channel, status, out),
            })?;
        }
        Some("multiplexer") => multiplexer(script, &mut output)?,
        other => return Err(format!("unknown type {other:?}")),
    }
    let expected = compare::expected(case)?;
    Ok(Outcome::Compared(compare::outputs(
        expected,
        &output,
        Order::Total,
    )))
}

fn signal(step: usize, signal: Signal) -> Value {
    let step = step_number(step);
    match signal {
        Signal::Watermark(watermark) => {
            json!({"step": step, "watermark": watermark.as_millis()})
        }
        Signal::Status(WatermarkStatus::Idle) => json!({"step": step, "status": "idle"}),
        Signal::Status(WatermarkStatus::Active) => json!({"step": step, "status": "active"}),
    }
}

fn status(value: &Value) -> Result<WatermarkStatus, String> {
    match value.as_str() {
        Some("idle") => Ok(WatermarkStatus::Idle),
        Some("active") => Ok(WatermarkStatus::Active),
        _ => Err(format!("unknown status {value}")),
    }
}

/// `None` for one that is refused.
fn generator(config: &Value) -> Result<Option<Generator>, String> {
    Ok(Some(match config["generator"].as_str() {
        Some("bounded_out_of_orderness") => {
            // A negative delay cannot be written down as a `Duration`.
            let Ok(delay) = u64::try_from(number(config, "delay_ms")?) else {
                return Ok(None);
            };
            Box::new(BoundedOutOfOrderness::new(Duration::from_millis(delay)))
        }
        Some("monotonous") => Box::new(Monotonous::new()),
        Some("punctuated") => Box::new(Punctuated::new(|step: &Value, _at| {
            step["marker"].as_i64().map(Timestamp::from_millis)
        })),
        Some("none") => Box::new(NoWatermarks),
        other => return Err(format!("unknown generator {other:?}")),
    }))
}

fn bare(generator: &mut Generator, script: &[Value], output: &mut Vec<Value>) {
    let now = Timestamp::EPOCH;
    for (index, step) in script.iter().enumerate() {
        let watermark = match step["event"].as_i64() {
            Some(at) => generator.on_event(step, Timestamp::from_millis(at), now),
            None => generator.on_periodic(now),
        };
        output.extend(watermark.map(|w| signal(index, Signal::Watermark(w))));
    }
}

fn operator(
    generator: Generator,
    config: &Value,
    script: &[Value],
    output: &mut Vec<Value>,
) -> Result<(), String> {
    let millis = |field: &str| {
        let ms = config[field].as_i64();
        ms.and_then(|ms| u64::try_from(ms).ok())
            .map(Duration::from_millis)
    };
    let mut options = AssignerOptions::default();
    if let Some(interval) = millis("interval_ms") {
        options = options.with_interval(interval);
    }
    if let Some(timeout) = millis("idleness_ms") {
        options = options.with_idleness(timeout);
    }
    let mut now = Timestamp::from_millis(config["initial_processing_time"].as_i64().unwrap_or(0));
    let mut assigner = WatermarkAssigner::new(generator, options, now);
    for (index, step) in script.iter().enumerate() {
        let mut out = |s| output.push(signal(index, s));
        if let Some(at) = step["event"].as_i64() {
            assigner.on_event(step, Timestamp::from_millis(at), now, &mut out);
        } else if let Some(to) = step["processing_time"].as_i64() {
            now = Timestamp::from_millis(to);
            assigner.on_clock::<Value>(now, &mut out);
        } else if let Some(watermark) = step["input_watermark"].as_i64() {
            assigner.on_upstream(Watermark::from_millis(watermark), &mut out);
        } else if step["finish"].as_bool() == Some(true) {
            assigner.finish::<Value>(now, &mut out);
        } else if !step["input_status"].is_null() {
            // Statuses from further up are swallowed: there is nothing to call.
            status(&step["input_status"])?;
        } else {
            return Err(format!("step {index}: unknown {step}"));
        }
    }
    Ok(())
}

fn channel_steps(
    script: &[Value],
    output: &mut Vec<Value>,
    mut handle: impl FnMut(usize, Signal, &mut dyn FnMut(Signal)) -> time_engine::Result<()>,
) -> Result<(), String> {
    for (index, step) in script.iter().enumerate() {
        let channel = usize::try_from(number(step, "channel")?).map_err(|e| e.to_string())?;
        let news = match step["watermark"].as_i64() {
            Some(watermark) => Signal::Watermark(Watermark::from_millis(watermark)),
            None => Signal::Status(status(&step["status"])?),
        };
        if handle(channel, news, &mut |s| output.push(signal(index, s))).is_err() {
            output.push(json!({"step": step_number(index), "error": {}}));
            break;
        }
    }
    Ok(())
}

fn multiplexer(script: &[Value], output: &mut Vec<Value>) -> Result<(), String> {
    let mut outputs: WatermarkMultiplexer<String> = WatermarkMultiplexer::new();
    for (index, step) in script.iter().enumerate() {
        let id = step["id"].as_str().unwrap_or_default().to_owned();
        let watermark = || number(step, "watermark").map(Watermark::from_millis);
        let mut out = |s| output.push(signal(index, s));
        let (idle, active) = (WatermarkStatus::Idle, WatermarkStatus::Active);
        let (now, later) = (Emission::Immediate, Emission::Deferred);
        let done = match step["op"].as_str() {
            Some("register") => outputs.register(id),
            Some("unregister") => {
                outputs.unregister(&id);
                Ok(())
            }
            Some("immediate") => outputs.on_watermark(&id, watermark()?, now, &mut out),
            Some("deferred") => outputs.on_watermark(&id, watermark()?, later, &mut out),
            Some("immediate_idle") => outputs.on_status(&id, idle, now, &mut out),
            Some("deferred_idle") => outputs.on_status(&id, idle, later, &mut out),
            Some("immediate_active") => outputs.on_status(&id, active, now, &mut out),
            Some("deferred_active") => outputs.on_status(&id, active, later, &mut out),
            Some("periodic") => {
                outputs.on_periodic(&mut out);
                Ok(())
            }
            other => return Err(format!("unknown operation {other:?}")),
        };
        if done.is_err() {
            output.push(json!({"step": step_number(index), "error": {}}));
            break;
        }
    }
    Ok(())
}
