//! Offline evaluation: replays a file through the model that serves.

mod metrics;
mod read;
mod slice;
mod synthetic;

pub use slice::Slice;
pub use synthetic::Synthetic;

use std::path::{Path, PathBuf};
use std::time::Instant;

use hashbrown::HashSet;
use serde::Serialize;

use crate::catalogue::Catalogue;
use crate::error::{Error, Result};
use crate::event::EventType;
use crate::model::{CHANNELS, Interaction, MemoryRecords, Model, Options, Ranked, Records, Seen};
use metrics::Metrics;
use read::{Actor, Row, Tables};

/// How events are scored and learnt.
#[derive(Clone, Debug)]
pub enum Protocol {
    /// Per user, test then learn; the user's own items are left out.
    PreqU {
        /// Events.
        data: PathBuf,
    },
    /// Per session, test then learn; nothing is left out.
    PreqS {
        /// Events.
        data: PathBuf,
    },
    /// Learn one file, predict another.
    Static {
        /// Learnt.
        train: PathBuf,
        /// Predicted.
        test: PathBuf,
    },
    /// Learn one file, predict another and learn each of its events after that.
    Stream {
        /// Learnt.
        train: PathBuf,
        /// Predicted, then learnt.
        test: PathBuf,
    },
}

impl Protocol {
    /// The name on the command line.
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::PreqU { .. } => "preq-u",
            Self::PreqS { .. } => "preq-s",
            Self::Static { .. } => "static",
            Self::Stream { .. } => "stream",
        }
    }
}

/// What to evaluate.
#[derive(Clone, Debug)]
pub struct Evaluation {
    protocol: Protocol,
    model: String,
    warm: f64,
    positive: Vec<String>,
    min_prefix: usize,
    slice: Slice,
    sources: bool,
    catalogue: Option<PathBuf>,
}

/// The evaluator's line on stdout.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// `preq-u`, `preq-s`, `static` or `stream`.
    pub protocol: String,
    /// `auto` or the source that ran alone.
    pub model: String,
    /// The file (static and stream: the test file).
    pub data: String,
    /// Events learnt.
    pub events: u64,
    /// Events scored; the metrics are means over them.
    pub scored: u64,
    /// Share of hits in the first ten.
    pub hr10: f64,
    /// Share of hits in the first twenty.
    pub hr20: f64,
    /// Mean reciprocal rank within twenty.
    pub mrr20: f64,
    /// Normalised discounted cumulative gain within ten.
    pub ndcg10: f64,
    /// Share of all items that were ever in a scored top 20.
    pub coverage20: f64,
    /// Events learnt per second spent on learning.
    pub update_events_per_s: f64,
    /// Microseconds a query, median.
    pub query_us_p50: f64,
    /// The 99th percentile.
    pub query_us_p99: f64,
    /// The 99.9th percentile.
    pub query_us_p999: f64,
    /// Bytes held by the model's records at the end.
    pub model_bytes: u64,
    /// What each source alone would have reached, where that was asked for.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub sources: Vec<SourceReport>,
}

/// What one source alone would have reached at the same questions.
#[derive(Clone, Debug, Serialize)]
pub struct SourceReport {
    /// The name of the [`crate::model::Channel`].
    pub model: String,
    /// Share of hits in the first ten.
    pub hr10: f64,
    /// Share of hits in the first twenty.
    pub hr20: f64,
    /// Mean reciprocal rank within twenty.
    pub mrr20: f64,
    /// Normalised discounted cumulative gain within ten.
    pub ndcg10: f64,
}

impl Evaluation {
    /// Of model `auto`, warm share 0.2, all event types, prefixes from 1.
    pub fn new(protocol: Protocol) -> Self {
        Self {
            protocol,
            model: "auto".into(),
            warm: 0.2,
            positive: Vec::new(),
            min_prefix: 1,
            slice: Slice::default(),
            sources: false,
            catalogue: None,
        }
    }

    /// Gives the items the categories of a catalogue file.
    #[must_use]
    pub fn with_catalogue(mut self, path: impl Into<PathBuf>) -> Self {
        self.catalogue = Some(path.into());
        self
    }

    /// Replays a part of the file only (of preq-u and preq-s).
    #[must_use]
    pub fn with_slice(mut self, slice: Slice) -> Self {
        self.slice = slice;
        self
    }

    /// Scores each source alone as well, in the same run: the fusion should never be clearly worse
    /// than the best of them.
    #[must_use]
    pub fn with_sources(mut self) -> Self {
        self.sources = true;
        self
    }

    /// `auto`; `tutorial`, the tutorial's rules; or the name of one [`crate::model::Channel`] alone.
    #[must_use]
    pub fn with_model(mut self, model: impl Into<String>) -> Self {
        self.model = model.into();
        self
    }

    /// The share of the stream that is learnt before anything is scored.
    #[must_use]
    pub fn with_warm(mut self, share: f64) -> Self {
        self.warm = share;
        self
    }

    /// The event types that are scored; none given means all.
    #[must_use]
    pub fn with_positive(mut self, types: Vec<String>) -> Self {
        self.positive = types;
        self
    }

    /// The shortest prefix scored by static and stream.
    #[must_use]
    pub fn with_min_prefix(mut self, items: usize) -> Self {
        self.min_prefix = items;
        self
    }

    /// Runs it; `progress` gets the events done and their total now and then.
    ///
    /// # Errors
    /// [`Error::File`] and [`Error::Line`] for the data, [`Error::Invalid`] for the settings.
    pub fn run(&self, progress: &mut dyn FnMut(u64, u64)) -> Result<Report> {
        if !(0.0..=1.0).contains(&self.warm) {
            return Err(Error::invalid("warm", "must lie between 0 and 1"));
        }
        let only = match self.model.as_str() {
            "auto" | "tutorial" => None,
            name => Some(name.parse()?),
        };
        let mut tables = Tables::default();
        let (seen, mut rows, train, data) = match &self.protocol {
            Protocol::PreqU { data } => (Seen::Exclude, tables.read(data, Actor::User)?, 0, data),
            Protocol::PreqS { data } => (Seen::Allow, tables.read(data, Actor::Session)?, 0, data),
            Protocol::Static { train, test } | Protocol::Stream { train, test } => {
                let mut rows = tables.read(train, Actor::Session)?;
                let train = rows.len();
                rows.append(&mut tables.read(test, Actor::Session)?);
                (Seen::Allow, rows, train, test)
            }
        };
        self.slice.validate()?;
        if train == 0 {
            self.slice.cut(&mut rows);
        }
        rows.shrink_to_fit();
        let mut records = MemoryRecords::default();
        if let Some(path) = &self.catalogue {
            let mut catalogue = Catalogue::default();
            catalogue.load(path)?;
            for item in catalogue.iter() {
                records.put_catalogue_item(item.item_id.as_str(), Some(item.clone()))?;
            }
        }
        let mut model = Model::open(&mut records, Options::default().with_seen(seen))?;
        if let Some(only) = only {
            model = model.with_only(only);
        }
        let mut run = Run::new(self, tables, model, records, seen);
        let first = match self.protocol {
            Protocol::PreqU { .. } | Protocol::PreqS { .. } => {
                (rows.len() as f64 * self.warm) as usize
            }
            _ => train,
        };
        let total = rows.len() as u64;
        for (n, row) in rows.iter().enumerate() {
            match self.protocol {
                Protocol::PreqU { .. } => run.preq_user(row, n >= first)?,
                Protocol::PreqS { .. } => run.preq_session(row, n >= first)?,
                _ if n < train => run.learn(row)?,
                Protocol::Stream { .. } => run.prefix(row, true)?,
                _ => run.prefix(row, false)?,
            }
            if n % 8192 == 0 {
                progress(n as u64, total);
            }
        }
        run.report(data)
    }
}

struct Run<'a> {
    evaluation: &'a Evaluation,
    tables: Tables,
    model: Model,
    records: MemoryRecords,
    seen: Seen,
    metrics: Metrics,
    /// One for each channel, none where nobody asked.
    sources: Vec<Metrics>,
    learnt: u64,
    learn_ns: u64,
    positive: Vec<bool>,
    weight: Vec<f32>,
    had: HashSet<(u32, u32), foldhash::fast::FixedState>,
    started: HashSet<u32, foldhash::fast::FixedState>,
    prefixes: hashbrown::HashMap<u32, Vec<(u32, f32)>, foldhash::fast::FixedState>,
    recommended: HashSet<u32, foldhash::fast::FixedState>,
    seen_items: HashSet<u32, foldhash::fast::FixedState>,
    list: Vec<Ranked>,
}

#[expect(
    clippy::disallowed_methods,
    reason = "measures how long a call takes, decides nothing"
)]
fn now() -> Instant {
    Instant::now()
}

impl<'a> Run<'a> {
    fn new(
        evaluation: &'a Evaluation,
        tables: Tables,
        model: Model,
        records: MemoryRecords,
        seen: Seen,
    ) -> Self {
        let kinds = (0..tables.kinds.len() as u32).map(|kind| tables.kinds.name(kind));
        let positive: Vec<bool> = kinds
            .clone()
            .map(|kind| {
                evaluation.positive.is_empty() || evaluation.positive.iter().any(|p| p == kind)
            })
            .collect();
        let weight = kinds
            .zip(&positive)
            .map(|(kind, positive)| match kind.parse::<EventType>() {
                Ok(kind) => kind.strength(),
                Err(_) if *positive => 2.0,
                Err(_) => 1.0,
            })
            .collect();
        Self {
            evaluation,
            model,
            records,
            seen,
            metrics: Metrics::default(),
            sources: match evaluation.sources {
                true => CHANNELS.map(|_| Metrics::default()).into(),
                false => Vec::new(),
            },
            learnt: 0,
            learn_ns: 0,
            positive,
            weight,
            had: HashSet::default(),
            started: HashSet::default(),
            prefixes: hashbrown::HashMap::default(),
            recommended: HashSet::default(),
            seen_items: HashSet::default(),
            list: Vec::new(),
            tables,
        }
    }

    fn learn(&mut self, row: &Row) -> Result<()> {
        let event = Interaction {
            user: self.tables.users.name(row.user),
            item: self.tables.items.name(row.item),
            weight: self.weight[row.kind as usize],
            positive: self.positive[row.kind as usize],
            at_ms: row.at_ms,
        };
        let start = now();
        self.model.observe(&mut self.records, event)?;
        self.learn_ns += start.elapsed().as_nanos() as u64;
        self.learnt += 1;
        self.had.insert((row.user, row.item));
        self.started.insert(row.user);
        self.seen_items.insert(row.item);
        Ok(())
    }

    /// Scores `self.list` against the item that came.
    fn score(&mut self, row: &Row, query_ns: u64, own_left_out: bool) -> Result<()> {
        let mut rank = 0;
        let mut hit = None;
        for scored in &self.list {
            let Some(item) = self.tables.items.find(&scored.id) else {
                continue;
            };
            if own_left_out && self.had.contains(&(row.user, item)) {
                continue;
            }
            rank += 1;
            self.recommended.insert(item);
            if item == row.item {
                hit = Some(rank);
            }
        }
        self.metrics.score(hit, query_ns);
        let item = self.tables.items.name(row.item);
        for (channel, metrics) in CHANNELS.into_iter().zip(&mut self.sources) {
            metrics.score(self.model.rank_by(&mut self.records, item, channel)?, 0);
        }
        Ok(())
    }

    fn query(&mut self, row: &Row) -> Result<u64> {
        let start = now();
        let (r, user) = (&mut self.records, self.tables.users.name(row.user));
        self.list = match self.evaluation.model.as_str() {
            "tutorial" => self.model.tutorial(r, user, 20, self.seen)?,
            _ => self.model.recommend(r, user, 20)?,
        };
        Ok(start.elapsed().as_nanos() as u64)
    }

    fn preq_user(&mut self, row: &Row, scored: bool) -> Result<()> {
        if scored
            && self.positive[row.kind as usize]
            && self.started.contains(&row.user)
            && !self.had.contains(&(row.user, row.item))
        {
            let ns = self.query(row)?;
            self.score(row, ns, true)?;
        }
        self.learn(row)
    }

    fn preq_session(&mut self, row: &Row, scored: bool) -> Result<()> {
        if scored && self.positive[row.kind as usize] && self.started.contains(&row.user) {
            let ns = self.query(row)?;
            self.score(row, ns, false)?;
        }
        self.learn(row)
    }

    /// Static and stream: the prefix of the test session alone is the history.
    fn prefix(&mut self, row: &Row, learn: bool) -> Result<()> {
        let weight = self.weight[row.kind as usize];
        let prefix = self.prefixes.entry(row.user).or_default();
        if prefix.len() >= self.evaluation.min_prefix.max(1) && self.positive[row.kind as usize] {
            let history: Vec<(&str, f32)> = prefix
                .iter()
                .map(|(item, w)| (self.tables.items.name(*item), *w))
                .collect();
            let start = now();
            let r = &mut self.records;
            self.list = match self.evaluation.model.as_str() {
                "tutorial" => self.model.tutorial_for(r, &history, 20)?,
                _ => self.model.recommend_for(r, &history, 20)?,
            };
            let ns = start.elapsed().as_nanos() as u64;
            self.score(row, ns, false)?;
        }
        if let Some(prefix) = self.prefixes.get_mut(&row.user) {
            prefix.push((row.item, weight));
        }
        if learn { self.learn(row) } else { Ok(()) }
    }

    fn report(mut self, data: &Path) -> Result<Report> {
        let [hr10, hr20, mrr20, ndcg10] = self.metrics.means();
        let [p50, p99, p999] = self.metrics.query_us();
        let round = |x: f64| (x * 1e5).round() / 1e5;
        let sources = CHANNELS.into_iter().zip(&self.sources);
        let sources = sources.map(|(channel, metrics)| {
            let [hr10, hr20, mrr20, ndcg10] = metrics.means().map(round);
            SourceReport {
                model: channel.to_string(),
                hr10,
                hr20,
                mrr20,
                ndcg10,
            }
        });
        let sources = sources.collect();
        Ok(Report {
            protocol: self.evaluation.protocol.as_str().into(),
            model: self.evaluation.model.clone(),
            data: data.display().to_string(),
            events: self.learnt,
            scored: self.metrics.scored,
            hr10: round(hr10),
            hr20: round(hr20),
            mrr20: round(mrr20),
            ndcg10: round(ndcg10),
            coverage20: round(self.recommended.len() as f64 / self.seen_items.len().max(1) as f64),
            update_events_per_s: (self.learnt as f64 / (self.learn_ns.max(1) as f64 / 1e9)).round(),
            query_us_p50: p50,
            query_us_p99: p99,
            query_us_p999: p999,
            model_bytes: self.records.bytes() as u64,
            sources,
        })
    }
}

#[cfg(test)]
mod tests;
