//! Tumbling, sliding and session windows, triggers and evictors: replayed in a `WindowEngine`.

use super::{
    Difference, Outcome,
    compare::{self, Order, number, step_number},
};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::{Value, json};
use std::{sync::Arc, time::Duration};
use time_engine::{
    TimeDomain, Timestamp, Watermark,
    window::{
        AccOf, Aggregate, Collect, ContinuousEventTimeTrigger, ContinuousProcessingTimeTrigger,
        CountEvictor, CountTrigger, DeltaEvictor, EventTimeTrigger, EvictAt, KeyedWindows, Output,
        PlainWindows, ProcessingTimeTrigger, PurgingTrigger, SharedWindows, TimeEvictor,
        Timestamped, Trigger, Window, WindowEngine, WindowSpec,
    },
};

/// An element of a script.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Item {
    value: i64,
    gap_ms: i64,
    /// The order of arrival.
    seq: u64,
}

/// The function `reduce_sum`: an incremental sum.
#[derive(Debug, Clone)]
struct SumValues;

impl Aggregate for SumValues {
    type In = Item;
    type Acc = i64;
    type Out = i64;

    fn create(&self) -> i64 {
        0
    }

    fn add(&self, acc: &mut i64, item: &Item, _at: Timestamp) {
        *acc = acc.wrapping_add(item.value);
    }

    fn merge(&self, acc: &mut i64, later: &i64) {
        *acc = acc.wrapping_add(*later);
    }

    fn result(&self, acc: &i64) -> i64 {
        *acc
    }
}

/// Runs one case, window by window and over shared slices.
pub(super) fn check(case: &Value) -> Result<Outcome, String> {
    let config = &case["config"];
    let evicts = !config["evictor"].is_null();
    let of_list = |list: &Vec<Timestamped<Item>>| {
        // Shared slices hold elements in the order of time; this is the order of arrival.
        let mut items: Vec<&Item> = list.iter().map(|item| &item.value).collect();
        items.sort_by_key(|item| item.seq);
        items.iter().map(|item| item.value).collect()
    };
    let found = match config["function"].as_str() {
        Some("reduce_sum") if evicts => both(case, Collect::new(), |list| {
            let values: Vec<i64> = of_list(list);
            vec![values.iter().fold(0, |sum, v| sum.wrapping_add(*v))]
        }),
        Some("reduce_sum") => both(case, SumValues, |sum| vec![*sum]),
        Some("list") => both(case, Collect::new(), of_list),
        other => Err(format!("unknown function {other:?}")),
    }?;
    Ok(Outcome::Compared(found))
}

/// Replays a case with both evaluations.
fn both<A>(
    case: &Value,
    aggregate: A,
    values: impl Fn(&A::Acc) -> Vec<i64>,
) -> Result<Vec<Difference>, String>
where
    A: Aggregate<In = Item> + Clone,
    A::Acc: Serialize + DeserializeOwned,
    WindowSpec<A>: Evictable,
{
    let plain = || {
        let spec = spec(&case["config"])?;
        Ok::<_, String>(spec.and_then(|spec| PlainWindows::new(aggregate.clone(), spec).ok()))
    };
    let shared = || {
        let spec = spec(&case["config"])?;
        Ok::<_, String>(
            spec.and_then(|spec| SharedWindows::new(aggregate.clone(), vec![spec]).ok()),
        )
    };
    let mut found = differences(case, run(case, plain, &values)?)?;
    for mut difference in differences(case, run(case, shared, &values)?)? {
        difference.got.push_str(" (shared slices)");
        found.push(difference);
    }
    Ok(found)
}

struct Run {
    output: Vec<Value>,
    late_dropped: i64,
}

fn differences(case: &Value, mut got: Run) -> Result<Vec<Difference>, String> {
    let mut expected = compare::expected(case)?.to_vec();
    let sessions = case["config"]["assigner"]["type"]
        .as_str()
        .is_some_and(|kind| kind.starts_with("session"));
    if sessions {
        // After a merge the order of the values is Flink's hash set's.
        for item in expected.iter_mut().chain(&mut got.output) {
            if let Some(values) = item["result"]["values"].as_array_mut() {
                values.sort_by_key(Value::as_i64);
            }
        }
    }
    let mut differences = compare::outputs(&expected, &got.output, Order::of(case));
    if let Some(dropped) = case["late_dropped"].as_i64()
        && dropped != got.late_dropped
    {
        differences.push(Difference {
            step: step_number(compare::script(case)?.len()),
            expected: format!("{dropped} late elements dropped"),
            got: got.late_dropped.to_string(),
        });
    }
    if case["config"]["trigger"].is_null() {
        differences.extend(out_of_order(&got.output));
    }
    Ok(differences)
}

/// With the default triggers, the results of one watermark have non-decreasing timestamps.
fn out_of_order(output: &[Value]) -> Option<Difference> {
    let caused_by_watermark = |step: &Value| {
        output
            .iter()
            .any(|item| item["step"] == *step && item["watermark"].is_i64())
    };
    output
        .windows(2)
        .find(|pair| {
            let ts = |item: &Value| item["result"]["ts"].as_i64();
            pair[0]["step"] == pair[1]["step"]
                && ts(&pair[0]) > ts(&pair[1])
                && ts(&pair[1]).is_some()
                && caused_by_watermark(&pair[0]["step"])
        })
        .map(|pair| Difference {
            step: pair[0]["step"].as_i64().unwrap_or(-1),
            expected: "results in the order of their timestamps".to_owned(),
            got: format!("{} before {}", pair[0], pair[1]),
        })
}

/// Replays the script. `windows` gives `None` for a configuration that is refused.
fn run<W>(
    case: &Value,
    windows: impl Fn() -> Result<Option<W>, String>,
    values: impl Fn(&AccOf<W>) -> Vec<i64>,
) -> Result<Run, String>
where
    W: KeyedWindows,
    W::Aggregate: Aggregate<In = Item>,
    W::State: Serialize + DeserializeOwned,
{
    let config = &case["config"];
    let mut run = Run {
        output: Vec::new(),
        late_dropped: 0,
    };
    let Some(first) = windows()? else {
        run.output.push(json!({"step": -1, "error": {}}));
        return Ok(run);
    };
    let side_output = config["late_side_output"].as_bool() == Some(true);
    let mut engine: WindowEngine<String, W> = WindowEngine::new(first);
    let mut clock = Timestamp::from_millis(config["initial_processing_time"].as_i64().unwrap_or(0));
    engine.on_processing_time(clock, |_| {});

    for (index, step) in compare::script(case)?.iter().enumerate() {
        let step_no = step_number(index);
        let mut output = std::mem::take(&mut run.output);
        let mut dropped = 0;
        let mut watermark = engine.watermark();
        if let Some(to) = step["watermark"].as_i64() {
            watermark = Watermark::from_millis(to);
        }
        let mut take = |out: Output<'_, String, W>| match out {
            Output::Result {
                key,
                window,
                contents,
                ..
            } => {
                let values = values(contents);
                let mut result = json!({
                    "key": key,
                    "values": values,
                    "sum": values.iter().fold(0_i64, |sum, value| sum.wrapping_add(*value)),
                    "watermark": watermark.as_millis(),
                    "ts": window.max_timestamp().as_millis(),
                });
                if window == Window::GLOBAL {
                    result["window"] = json!("global");
                } else {
                    result["start"] = json!(window.start().as_millis());
                    result["end"] = json!(window.end().as_millis());
                }
                output.push(json!({"step": step_no, "result": result}));
            }
            Output::Late { key, at, value, .. } => {
                if side_output {
                    let ts = (at != Timestamp::MIN).then(|| at.as_millis());
                    let late = json!({"key": key, "value": value.value, "ts": ts});
                    output.push(json!({"step": step_no, "late": late}));
                } else {
                    dropped += 1;
                }
            }
        };
        let mut refused = false;
        if let Some(element) = step.get("element") {
            let key = element["key"].as_str().ok_or("no key")?.to_owned();
            let at = element["ts"]
                .as_i64()
                .map_or(Timestamp::MIN, Timestamp::from_millis);
            let item = Item {
                value: number(element, "value")?,
                gap_ms: gap_of(&config["assigner"], &key, element),
                seq: index as u64,
            };
            refused = engine.on_element(&key, at, &item, &mut take).is_err();
        } else if step["watermark"].is_i64() {
            engine.on_watermark(watermark, &mut take);
            output.push(json!({"step": step_no, "watermark": watermark.as_millis()}));
        } else if let Some(now) = step["processing_time"].as_i64() {
            clock = Timestamp::from_millis(now);
            engine.on_processing_time(clock, &mut take);
        } else if step["snapshot_restore"].as_bool() == Some(true) {
            let restored = windows()?.ok_or("refused after a restore")?;
            engine = restore(&engine, restored, clock)?;
        } else {
            return Err(format!("step {index}: unknown {step}"));
        }
        run.output = output;
        run.late_dropped += dropped;
        if refused {
            run.output.push(json!({"step": step_no, "error": {}}));
            break;
        }
    }
    Ok(run)
}

/// A new engine from the written-down states of another. The clock goes on, the watermark does not.
fn restore<W>(
    old: &WindowEngine<String, W>,
    windows: W,
    clock: Timestamp,
) -> Result<WindowEngine<String, W>, String>
where
    W: KeyedWindows,
    W::State: Serialize + DeserializeOwned,
{
    let mut engine = WindowEngine::new(windows);
    // Before the states come: an overdue timer waits for the first step of the clock.
    engine.on_processing_time(clock, |_| {});
    for (key, state) in old.states() {
        let bytes = postcard::to_stdvec(state).map_err(|e| format!("snapshot: {e}"))?;
        let state = postcard::from_bytes(&bytes).map_err(|e| format!("restore: {e}"))?;
        engine.restore(key.clone(), state);
    }
    let pending = |engine: &WindowEngine<String, W>| {
        [TimeDomain::Event, TimeDomain::Processing].map(|domain| engine.timers(domain))
    };
    if pending(old) != pending(&engine) {
        return Err("the restored engine waits for something else".to_owned());
    }
    Ok(engine)
}

fn gap_of(assigner: &Value, key: &str, element: &Value) -> i64 {
    match assigner["gap_from"].as_str() {
        Some("key") => assigner["gap_by_key"][key].as_i64().unwrap_or(0),
        _ => element["gap"].as_i64().unwrap_or(0),
    }
}

/// Evictors exist for lists only; this says so to the compiler.
trait Evictable: Sized {
    fn evictor(self, config: &Value) -> Result<Self, String>;
}

impl Evictable for WindowSpec<SumValues> {
    fn evictor(self, config: &Value) -> Result<Self, String> {
        if config.is_null() {
            Ok(self)
        } else {
            Err("an evictor over an incremental sum".to_owned())
        }
    }
}

impl Evictable for WindowSpec<Collect<Item>> {
    fn evictor(self, config: &Value) -> Result<Self, String> {
        let at = if config["evict_after"].as_bool() == Some(true) {
            EvictAt::After
        } else {
            EvictAt::Before
        };
        Ok(match config["type"].as_str() {
            None => self,
            Some("count") => {
                // Flink's evictor of a negative count evicts everything, as that of 0.
                let n = usize::try_from(number(config, "n")?).unwrap_or(0);
                self.with_evictor(CountEvictor::new(n, at))
            }
            Some("time") => {
                let size = duration(number(config, "size_ms")?).unwrap_or_default();
                self.with_evictor(TimeEvictor::new(size, at))
            }
            Some("delta") => {
                let threshold = config["threshold"].as_f64().ok_or("no threshold")?;
                let delta = |old: &Item, last: &Item| (last.value - old.value) as f64;
                self.with_evictor(DeltaEvictor::new(threshold, delta, at))
            }
            Some(other) => return Err(format!("unknown evictor {other:?}")),
        })
    }
}

fn duration(ms: i64) -> Option<Duration> {
    u64::try_from(ms).ok().map(Duration::from_millis)
}

/// The specification of a case; `None` for one that cannot even be written down in Rust's types.
fn spec<A>(config: &Value) -> Result<Option<WindowSpec<A>>, String>
where
    A: Aggregate<In = Item>,
    WindowSpec<A>: Evictable,
{
    let assigner = &config["assigner"];
    let kind = assigner["type"].as_str().ok_or("no assigner type")?;
    let span = |field: &str| number(assigner, field).map(|ms| duration(ms.max(0)));
    let mut spec = if kind.starts_with("tumbling") {
        let Some(size) = span("size_ms")? else {
            return Ok(None);
        };
        WindowSpec::tumbling(size)
    } else if kind.starts_with("sliding") {
        let (Some(size), Some(slide)) = (span("size_ms")?, span("slide_ms")?) else {
            return Ok(None);
        };
        WindowSpec::sliding(size, slide)
    } else if kind.starts_with("session") {
        if assigner["gap_from"].is_string() {
            WindowSpec::session_with(|item: &Item| item.gap_ms)
        } else {
            let Some(gap) = span("gap_ms")? else {
                return Ok(None);
            };
            WindowSpec::session(gap)
        }
    } else if kind == "global" {
        WindowSpec::global()
    } else {
        return Err(format!("unknown assigner {kind:?}"));
    };
    if kind.ends_with("processing_time") {
        spec = spec.in_processing_time();
    }
    if let Some(offset) = assigner["offset_ms"].as_i64() {
        spec = spec.with_offset_ms(offset);
    }
    let Some(lateness) = duration(config["allowed_lateness_ms"].as_i64().unwrap_or(0)) else {
        return Ok(None);
    };
    spec = spec.with_allowed_lateness(lateness);
    if !config["trigger"].is_null() {
        match trigger(&config["trigger"])? {
            Some(trigger) => spec = spec.with_shared_trigger(Arc::from(trigger)),
            None => return Ok(None),
        }
    }
    spec.evictor(&config["evictor"]).map(Some)
}

fn trigger(config: &Value) -> Result<Option<Box<dyn Trigger>>, String> {
    let interval = || -> Result<Duration, String> {
        Ok(duration(number(config, "interval_ms")?).unwrap_or_default())
    };
    let boxed: Option<Box<dyn Trigger>> = match config["type"].as_str() {
        Some("event_time") => Some(Box::new(EventTimeTrigger)),
        Some("processing_time") => Some(Box::new(ProcessingTimeTrigger)),
        Some("count") => {
            let n = number(config, "n")?.max(0).unsigned_abs();
            Some(Box::new(CountTrigger::new(n)))
        }
        Some("continuous_event_time") => ContinuousEventTimeTrigger::new(interval()?)
            .ok()
            .map(|trigger| Box::new(trigger) as _),
        Some("continuous_processing_time") => ContinuousProcessingTimeTrigger::new(interval()?)
            .ok()
            .map(|trigger| Box::new(trigger) as _),
        Some("purging") => {
            trigger(&config["inner"])?.map(|inner| Box::new(PurgingTrigger::from_boxed(inner)) as _)
        }
        other => return Err(format!("unknown trigger {other:?}")),
    };
    Ok(boxed)
}
