//! Where tasks run: a thread each.

use super::metrics::TaskMetrics;
use super::report::Report;
use super::signal::Signal;
use super::snapshot::Reporter;
use super::task::{Step, Task};
use crate::error::{Error, Result};
use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;
use time_engine::Clock;

/// Builds a task where it will run; it reports its own start.
pub(crate) type Build = Box<dyn FnOnce() -> Result<Box<dyn Task>> + Send>;

/// What a coordinator starts tasks with.
pub(crate) struct Launch {
    pub(crate) name: String,
    pub(crate) subtask: usize,
    pub(crate) signal: Arc<Signal>,
    pub(crate) metrics: Arc<TaskMetrics>,
    pub(crate) reporter: Reporter,
    pub(crate) build: Build,
}

pub(crate) trait Executor {
    /// # Errors
    /// The system has no more threads.
    fn start(&mut self, launch: Launch) -> Result<()>;

    /// Stops all tasks where they are, and returns when none runs.
    fn stop(&mut self);
}

pub(crate) struct Threads {
    job: String,
    clock: Arc<dyn Clock>,
    /// The end of a wait that is not slept.
    spin: Duration,
    cancelled: Arc<AtomicBool>,
    running: Vec<(Arc<Signal>, JoinHandle<()>)>,
}

impl Threads {
    pub(crate) fn new(job: String, clock: Arc<dyn Clock>, spin: Duration) -> Self {
        Self {
            job,
            clock,
            spin,
            cancelled: Arc::default(),
            running: Vec::new(),
        }
    }
}

impl Executor for Threads {
    fn start(&mut self, launch: Launch) -> Result<()> {
        let name = format!("{}/{}-{}", self.job, launch.name, launch.subtask);
        let signal = Arc::clone(&launch.signal);
        let cancelled = Arc::clone(&self.cancelled);
        let clock = Arc::clone(&self.clock);
        let spin = self.spin;
        let thread = std::thread::Builder::new()
            .name(name)
            .spawn(move || run(launch, &cancelled, &*clock, spin))
            .map_err(|source| Error::Io {
                operation: "start a thread",
                source,
            })?;
        self.running.push((signal, thread));
        Ok(())
    }

    fn stop(&mut self) {
        self.cancelled.store(true, Ordering::Release);
        for (signal, _) in &self.running {
            signal.raise();
        }
        for (_, thread) in self.running.drain(..) {
            // a panic has been reported by the thread itself
            let _ = thread.join();
        }
        self.cancelled = Arc::default();
    }
}

impl Drop for Threads {
    fn drop(&mut self) {
        self.stop();
    }
}

fn run(launch: Launch, cancelled: &AtomicBool, clock: &dyn Clock, spin: Duration) {
    let Launch {
        name,
        subtask,
        signal,
        metrics,
        reporter,
        build,
    } = launch;
    signal.attach();
    let outcome = catch_unwind(AssertUnwindSafe(|| -> Result<()> {
        let mut task = build()?;
        while !cancelled.load(Ordering::Acquire) {
            match task.step()? {
                Step::Progress => {}
                Step::Finished => {
                    reporter.send(Report::Finished);
                    break;
                }
                Step::Wait {
                    until,
                    backpressured,
                } => {
                    let before = clock.elapsed();
                    metrics.fall_asleep(before, backpressured);
                    wait(&signal, until, spin, || {
                        clock.elapsed().saturating_sub(before)
                    });
                    signal.take();
                    metrics.wake(clock.elapsed());
                }
            }
        }
        Ok(())
    }));
    let error = match outcome {
        Ok(Ok(())) => return,
        Ok(Err(error)) => error,
        Err(panic) => Error::Panicked {
            task: name,
            subtask,
            message: panic_message(&*panic).to_owned(),
        },
    };
    reporter.send(Report::Failed { error });
}

/// The most looks before a wait is over: a clock that stands still must not keep a thread awake.
const LOOKS: usize = 10_000;

/// Waits until the signal is raised or the time is over, the last `spin` of which it does not sleep. May return
/// early.
fn wait(signal: &Signal, until: Option<Duration>, spin: Duration, waited: impl Fn() -> Duration) {
    let Some(until) = until else {
        return signal.wait(None);
    };
    if until > spin {
        signal.wait(Some(until - spin));
    }
    if spin.is_zero() {
        return;
    }
    for _ in 0..LOOKS {
        if signal.is_raised() || waited() >= until {
            return;
        }
        std::thread::yield_now();
    }
}

pub(crate) fn panic_message(panic: &(dyn Any + Send)) -> &str {
    panic
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("no message")
}
