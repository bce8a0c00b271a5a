//! A whole job on one thread: the order of its steps follows from a seed, failures included.

use crate::config::JobConfig;
use crate::error::{Error, Result};
use crate::graph::lock;
use crate::job::{Shared, StreamEnvironment};
use crate::runtime::coordinator::{Coordinator, Next};
use crate::runtime::executor::{Build, Executor, Launch, panic_message};
use crate::runtime::report::Report;
use crate::runtime::signal::Signal;
use crate::runtime::snapshot::Reporter;
use crate::runtime::task::{Step, Task};
use crate::status::{JobState, JobStatus};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;
use time_engine::{Clock, ManualClock, Timestamp};

/// What happens in a simulated run.
#[derive(Debug, Clone)]
pub struct SimulationOptions {
    seed: u64,
    crash_every: Option<u64>,
    stop_after: Option<u64>,
    max_steps: u64,
}

impl SimulationOptions {
    /// The order of steps that follows from `seed`, without failures.
    pub fn new(seed: u64) -> Self {
        Self {
            seed,
            crash_every: None,
            stop_after: None,
            max_steps: 10_000_000,
        }
    }

    /// Makes a task fail, about once in so many steps.
    #[must_use]
    pub fn with_crash_every(mut self, steps: u64) -> Self {
        self.crash_every = Some(steps.max(1));
        self
    }

    /// Breaks the whole run off after so many steps, as a power failure would.
    #[must_use]
    pub fn with_stop_after(mut self, steps: u64) -> Self {
        self.stop_after = Some(steps);
        self
    }

    /// Steps after which a run counts as stuck.
    #[must_use]
    pub fn with_max_steps(mut self, steps: u64) -> Self {
        self.max_steps = steps;
        self
    }
}

/// How a simulated run went.
#[derive(Debug, Clone)]
pub struct SimulationReport {
    /// Steps taken.
    pub steps: u64,
    /// Failures injected.
    pub crashes: u64,
    /// How the job stood at the end.
    pub status: JobStatus,
}

/// Runs a job on the calling thread, on a clock of its own, until it ends or is broken off.
///
/// Every task, writer and the coordinator are the real ones; only who takes the next step is drawn from
/// the seed. Some tasks are slower than others. The same seed gives the same run.
///
/// # Errors
/// A job that cannot run, that fails for good, or that gets stuck.
pub fn simulate(
    env: &StreamEnvironment,
    config: JobConfig,
    options: &SimulationOptions,
) -> Result<SimulationReport> {
    let clock = ManualClock::new(Timestamp::from_millis(1_000_000));
    let config = config.with_clock(clock.clone());
    let graph = env.graph(&config)?;
    let tasks: Vec<String> = graph.tasks.iter().map(|task| task.name.clone()).collect();
    let signal = Arc::new(Signal::default());
    let shared = Arc::new(Shared::new(&config.name, Arc::clone(&signal)));
    let mut random = Random(options.seed);
    let executor = Simulated {
        tasks: Vec::new(),
        seed: random.next(),
    };
    let mut coordinator = Coordinator::new(
        graph,
        config,
        Arc::clone(&shared),
        Arc::clone(&signal),
        executor,
    );
    let (mut steps, mut crashes) = (0, 0);
    let mut waiting: Option<Duration> = None;
    let mut ready = Vec::new();
    loop {
        steps += 1;
        if steps > options.max_steps {
            return Err(stuck("it takes too many steps"));
        }
        if options.stop_after.is_some_and(|last| steps > last) {
            break;
        }
        if random.below(8) == 0 {
            clock.advance(Duration::from_millis(1));
        }
        let now = clock.elapsed();
        if options
            .crash_every
            .is_some_and(|every| random.below(every) == 0)
            && lock(&shared.status).state == JobState::Running
        {
            crashes += 1;
            let tasks = &coordinator.executor.tasks;
            let at = random.below(tasks.len() as u64) as usize;
            if let Some(task) = tasks.get(at) {
                let error = Error::user(format!("injected failure {crashes}"));
                task.reporter.send(Report::Failed { error });
            }
        }
        // the coordinator counts as one more task
        ready.clear();
        let all = &coordinator.executor.tasks;
        ready.extend((0..all.len()).filter(|at| all[*at].is_ready(now)));
        let awake = waiting.is_none_or(|until| until <= now || signal.is_raised());
        let choices = ready.len() as u64 + u64::from(awake);
        if choices == 0 {
            let alarms = all.iter().filter_map(SimulatedTask::alarm).chain(waiting);
            match alarms.filter(|at| *at < Duration::MAX).min() {
                Some(at) => clock.advance(at.saturating_sub(now).max(Duration::from_millis(1))),
                None => return Err(stuck("all tasks wait for each other")),
            }
            continue;
        }
        let choice = random.below(choices) as usize;
        match ready.get(choice) {
            Some(at) => coordinator.executor.step(*at, now, &mut random),
            None => {
                signal.take();
                match coordinator.step() {
                    Next::Again => waiting = None,
                    Next::Wait(limit) => waiting = Some(limit.map_or(Duration::MAX, |l| now + l)),
                    Next::Done => break,
                }
            }
        }
    }
    if let Some(error) = coordinator.outcome.take() {
        return Err(error);
    }
    let status = shared.status(&tasks);
    Ok(SimulationReport {
        steps,
        crashes,
        status,
    })
}

fn stuck(what: &str) -> Error {
    Error::InvalidJob {
        what: format!("the simulation is stuck: {what}"),
    }
}

/// splitmix64.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.next().checked_rem(bound).unwrap_or(0)
    }
}

enum Stage {
    Unbuilt(Build),
    Running(Box<dyn Task>),
    Over,
}

struct SimulatedTask {
    name: String,
    subtask: usize,
    signal: Arc<Signal>,
    reporter: Reporter,
    stage: Stage,
    waiting: Option<Duration>,
    /// Of this many chances it takes one.
    slowness: u64,
}

impl SimulatedTask {
    fn is_ready(&self, now: Duration) -> bool {
        match self.stage {
            Stage::Over => false,
            _ => self
                .waiting
                .is_none_or(|until| until <= now || self.signal.is_raised()),
        }
    }

    fn alarm(&self) -> Option<Duration> {
        match self.stage {
            Stage::Over => None,
            _ => self.waiting,
        }
    }

    fn step(&mut self, now: Duration) -> Result<()> {
        self.signal.take();
        self.waiting = None;
        match std::mem::replace(&mut self.stage, Stage::Over) {
            Stage::Over => {}
            Stage::Unbuilt(build) => self.stage = Stage::Running(build()?),
            Stage::Running(mut task) => match task.step()? {
                Step::Finished => self.reporter.send(Report::Finished),
                Step::Progress => self.stage = Stage::Running(task),
                Step::Wait { until, .. } => {
                    self.waiting = Some(until.map_or(Duration::MAX, |until| now + until));
                    self.stage = Stage::Running(task);
                }
            },
        }
        Ok(())
    }
}

struct Simulated {
    tasks: Vec<SimulatedTask>,
    seed: u64,
}

impl Simulated {
    fn step(&mut self, at: usize, now: Duration, random: &mut Random) {
        let Some(task) = self.tasks.get_mut(at) else {
            return;
        };
        if random.below(task.slowness) != 0 {
            return;
        }
        let outcome = catch_unwind(AssertUnwindSafe(|| task.step(now)));
        let error = match outcome {
            Ok(Ok(())) => return,
            Ok(Err(error)) => error,
            Err(panic) => Error::Panicked {
                task: task.name.clone(),
                subtask: task.subtask,
                message: panic_message(&*panic).to_owned(),
            },
        };
        task.stage = Stage::Over;
        task.reporter.send(Report::Failed { error });
    }
}

impl Executor for Simulated {
    fn start(&mut self, launch: Launch) -> Result<()> {
        let mut random = Random(self.seed.wrapping_add(self.tasks.len() as u64));
        let slowness = if random.below(4) == 0 {
            1 + random.below(16)
        } else {
            1
        };
        self.tasks.push(SimulatedTask {
            name: launch.name,
            subtask: launch.subtask,
            signal: launch.signal,
            reporter: launch.reporter,
            stage: Stage::Unbuilt(launch.build),
            waiting: None,
            slowness,
        });
        Ok(())
    }

    fn stop(&mut self) {
        self.tasks.clear();
    }
}
