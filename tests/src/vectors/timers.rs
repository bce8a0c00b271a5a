//! Timers of a keyed function: replayed over a `TimerService`.

use super::{
    Outcome,
    compare::{self, Order, number, step_number},
};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use time_engine::{TimeDomain, Timer, TimerService, Timestamp};

/// Runs one case.
pub(super) fn check(case: &Value) -> Result<Outcome, String> {
    let mut function = Function {
        config: &case["config"],
        timers: TimerService::new(),
        watermark: i64::MIN,
        clock: case["config"]["initial_processing_time"]
            .as_i64()
            .unwrap_or(0),
        states: BTreeMap::new(),
        uses: BTreeMap::new(),
        step: 0,
        output: Vec::new(),
    };
    for (index, step) in compare::script(case)?.iter().enumerate() {
        function.step = step_number(index);
        if let Some(element) = step.get("element") {
            function.on_element(element)?;
        } else if let Some(to) = step["watermark"].as_i64() {
            function.watermark = to;
            function.advance(TimeDomain::Event, to)?;
            function
                .output
                .push(json!({"step": function.step, "watermark": to}));
        } else if let Some(now) = step["processing_time"].as_i64() {
            function.clock = now;
            function.advance(TimeDomain::Processing, now)?;
        } else if step["snapshot_restore"].as_bool() == Some(true) {
            function.snapshot_restore()?;
        } else {
            return Err(format!("step {index}: unknown {step}"));
        }
    }
    let expected = compare::expected(case)?;
    Ok(Outcome::Compared(compare::outputs(
        expected,
        &function.output,
        Order::of(case),
    )))
}

/// What the function of a case keeps for a key.
#[derive(Debug, Default)]
struct KeyState {
    last: Option<i64>,
    count: i64,
}

struct Function<'a> {
    config: &'a Value,
    timers: TimerService<String>,
    watermark: i64,
    clock: i64,
    states: BTreeMap<String, KeyState>,
    uses: BTreeMap<(usize, String), i64>,
    step: i64,
    output: Vec<Value>,
}

impl Function<'_> {
    fn on_element(&mut self, element: &Value) -> Result<(), String> {
        let key = element["key"].as_str().ok_or("no key")?.to_owned();
        match self.config["function"].as_str() {
            Some("scripted") => self.run_ops(&key, &element["ops"], element["ts"].as_i64()),
            Some("inactivity_timeout") => {
                let timeout = number(self.config, "timeout_ms")?;
                let at = number(element, "ts")?;
                let state = self.states.entry(key.clone()).or_default();
                state.count += 1;
                if self.config["ignore_older"].as_bool() == Some(true)
                    && state.last.is_some_and(|last| at <= last)
                {
                    return Ok(());
                }
                let last = state.last.replace(at);
                if self.config["variant"].as_str() == Some("delete")
                    && let Some(last) = last
                {
                    self.delete(TimeDomain::Event, last.wrapping_add(timeout), &key);
                }
                self.register(TimeDomain::Event, at.wrapping_add(timeout), &key);
                Ok(())
            }
            other => Err(format!("unknown function {other:?}")),
        }
    }

    fn advance(&mut self, domain: TimeDomain, reached: i64) -> Result<(), String> {
        while let Some(timer) = self.timers.pop_due(domain, Timestamp::from_millis(reached)) {
            self.on_timer(domain, timer.at.as_millis(), &timer.key)?;
        }
        Ok(())
    }

    fn on_timer(&mut self, domain: TimeDomain, at: i64, key: &str) -> Result<(), String> {
        // What an event timer emits carries its timestamp; there is none in processing time.
        let ts = (domain == TimeDomain::Event).then_some(at);
        if self.config["function"].as_str() == Some("inactivity_timeout") {
            let timeout = number(self.config, "timeout_ms")?;
            let state = self.states.get(key);
            let (last, count) = state.map_or((None, None), |s| (s.last, Some(s.count)));
            let mut result = json!({
                "key": key, "last": last, "count": count, "watermark": self.watermark, "ts": ts,
            });
            if last.map(|last| last.wrapping_add(timeout)) == Some(at) {
                result["timeout"] = json!(at);
                self.states.remove(key);
            } else {
                result["stale"] = json!(at);
            }
            self.emit(result);
            return Ok(());
        }
        let name = match domain {
            TimeDomain::Event => "event",
            TimeDomain::Processing => "processing",
        };
        self.emit(json!({
            "timer": at, "domain": name, "key": key, "watermark": self.watermark,
            "clock": self.clock, "ts": ts,
        }));
        let rules = self.config["on_timer"].as_array().cloned();
        for (number, rule) in rules.unwrap_or_default().iter().enumerate() {
            let matches = rule["domain"].as_str() == Some(name)
                && rule["key"].as_str().is_none_or(|only| only == key)
                && (rule["ts"].as_str() == Some("any") || rule["ts"].as_i64() == Some(at));
            let uses = self.uses.entry((number, key.to_owned())).or_default();
            if matches && *uses < rule["max_uses_per_key"].as_i64().unwrap_or(i64::MAX) {
                *uses += 1;
                self.run_ops(key, &rule["ops"], ts)?;
            }
        }
        Ok(())
    }

    fn run_ops(&mut self, key: &str, ops: &Value, ts: Option<i64>) -> Result<(), String> {
        for op in ops.as_array().into_iter().flatten() {
            let n = op[1].as_i64().ok_or_else(|| format!("operation {op}"))?;
            match op[0].as_str() {
                Some("reg_et") => self.register(TimeDomain::Event, n, key),
                Some("del_et") => self.delete(TimeDomain::Event, n, key),
                Some("reg_pt") => self.register(TimeDomain::Processing, n, key),
                Some("del_pt") => self.delete(TimeDomain::Processing, n, key),
                Some("reg_et_from_wm") => {
                    self.register(TimeDomain::Event, self.watermark.wrapping_add(n), key);
                }
                Some("reg_pt_from_now") => {
                    self.register(TimeDomain::Processing, self.clock.wrapping_add(n), key);
                }
                Some("emit") => self.emit(json!({
                    "emit": n, "key": key, "watermark": self.watermark, "clock": self.clock,
                    "ts": ts,
                })),
                _ => return Err(format!("unknown operation {op}")),
            }
        }
        Ok(())
    }

    fn register(&mut self, domain: TimeDomain, at: i64, key: &str) {
        let at = Timestamp::from_millis(at);
        self.timers.register(domain, Timer::new(at, key.to_owned()));
    }

    fn delete(&mut self, domain: TimeDomain, at: i64, key: &str) {
        let at = Timestamp::from_millis(at);
        self.timers.delete(domain, &Timer::new(at, key.to_owned()));
    }

    fn emit(&mut self, result: Value) {
        self.output
            .push(json!({"step": self.step, "result": result}));
    }

    /// Timers go through bytes; the watermark starts again.
    fn snapshot_restore(&mut self) -> Result<(), String> {
        let bytes = postcard::to_stdvec(&self.timers).map_err(|e| e.to_string())?;
        self.timers = postcard::from_bytes(&bytes).map_err(|e| e.to_string())?;
        self.watermark = i64::MIN;
        Ok(())
    }
}
