//! Streams: what a job is written with.

use crate::codec::{self, Codec};
use crate::element::{Collector, Element};
use crate::error::Result;
use crate::function::ProcessFunction;
use crate::graph::{Graph, LinkFactory, Node, Overtaking, TaskId, TaskSpec, lock};
use crate::key::{KeyByRef, KeyByValue};
use crate::keyed_stream::{KeyedStream, reserve};
use crate::partition::{Custom, Partitioner, Rebalance, ToAll, ToOne};
use crate::runtime::align::InputKind;
use crate::runtime::chain::{Filter, FlatMap, Map, SinkLink, Timestamps};
use crate::runtime::deployment::BuildContext;
use crate::runtime::exchange::{Copy, Exchange, Route};
use crate::runtime::function::{FunctionLink, TRANSACTIONS, TransactionalLink};
use crate::runtime::in_flight::InputEdge;
use crate::runtime::input_task::{Input, InputTask};
use crate::runtime::link::Next;
use crate::runtime::source_task::SourceTask;
use crate::runtime::task::Task;
use crate::side_output::{OutputTag, SideOutputs};
use crate::sink::{Sink, TransactionalSink};
use crate::source::{Source, SourceContext, SourceWaker};
use state_backend::{StateKey, StateValue};
use std::collections::BTreeMap;
use std::fmt;
use std::marker::PhantomData;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use time_engine::watermark::{AssignerOptions, WatermarkAssigner, WatermarkGenerator};
use time_engine::{Timestamp, Watermark};

/// The graph that streams of one environment write to.
pub(crate) type SharedGraph = Arc<Mutex<Graph>>;

/// An unbounded sequence of elements of one type. Its methods describe what happens to them;
/// [`crate::StreamEnvironment::execute`] makes it happen.
///
/// What needs no exchange is chained: it runs on the thread of what comes before, by direct calls. A new
/// task begins behind [`key_by`](Self::key_by) and the other partitionings.
pub struct Stream<T> {
    pub(crate) graph: SharedGraph,
    pub(crate) nodes: Vec<Arc<Node<T>>>,
    /// Directly behind an operator: where takers of its side outputs register.
    sides: Option<SideNodes>,
    /// How what is under way can be written into a checkpoint.
    pub(crate) codec: Option<Codec<T>>,
}

type SideFactory = Box<dyn Fn(&mut BuildContext<'_>, &mut SideOutputs) -> Result<()> + Send + Sync>;

/// The takers of an operator's side outputs.
pub(crate) type SideNodes = Arc<Mutex<Vec<SideFactory>>>;

impl<T> fmt::Debug for Stream<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let tasks: Vec<TaskId> = self.nodes.iter().map(|node| node.task).collect();
        f.debug_struct("Stream")
            .field("tasks", &tasks)
            .finish_non_exhaustive()
    }
}

/// A second taker of the same elements; each gets its own copy.
impl<T: Clone + Send + 'static> Clone for Stream<T> {
    fn clone(&self) -> Self {
        self.nodes.iter().for_each(|node| node.allow_copies());
        let (graph, nodes) = (Arc::clone(&self.graph), self.nodes.clone());
        Self {
            graph,
            nodes,
            sides: self.sides.clone(),
            codec: self.codec.clone(),
        }
    }
}

impl<T: Send + 'static> Stream<T> {
    pub(crate) fn of(graph: SharedGraph, node: Arc<Node<T>>) -> Self {
        Self {
            graph,
            nodes: vec![node],
            sides: None,
            codec: None,
        }
    }

    /// Adds a link at the end of the chain of each task this stream comes from.
    fn link<U: Send + 'static>(
        self,
        make: impl Fn(&mut BuildContext<'_>, Next<U>) -> Result<Next<T>> + Send + Sync + 'static,
    ) -> Stream<U> {
        let make = Arc::new(make);
        let mut nodes = Vec::new();
        for node in &self.nodes {
            let next = Node::new(node.task);
            nodes.push(Arc::clone(&next));
            let make = Arc::clone(&make);
            node.add(Arc::new(move |cx| {
                let rest = next.build(cx)?;
                make(cx, rest)
            }));
        }
        Stream {
            graph: self.graph,
            nodes,
            sides: None,
            codec: None,
        }
    }

    /// Lets unaligned barriers overtake the elements of this stream where it is partitioned next: they are then
    /// written into the checkpoint as the values of state are. Needed only with
    /// [`Barriers::Unaligned`](crate::Barriers) or `UnalignedAfter`; a job that lacks it is then refused,
    /// with the place named. It stays with the stream through filters and timestamps.
    #[must_use]
    pub fn with_codec(mut self) -> Self
    where
        T: StateValue,
    {
        self.codec = Some(codec::as_state());
        self
    }

    /// The same elements, fewer or changed in time: the codec stays.
    fn link_same(
        self,
        make: impl Fn(&mut BuildContext<'_>, Next<T>) -> Result<Next<T>> + Send + Sync + 'static,
    ) -> Self {
        let codec = self.codec.clone();
        let mut stream = self.link(make);
        stream.codec = codec;
        stream
    }

    pub(crate) fn with_sides(mut self, sides: SideNodes) -> Self {
        self.sides = Some(sides);
        self
    }

    /// What the operator before emits to the side output of this tag. Only directly behind an operator;
    /// elsewhere the job is refused.
    pub fn side_output<U: Send + 'static>(&self, tag: OutputTag<U>) -> Stream<U> {
        let task = self.nodes.first().map_or(0, |node| node.task);
        let node = Node::new(task);
        let out = Arc::clone(&node);
        match &self.sides {
            Some(sides) => lock(sides).push(Box::new(move |cx, outputs| {
                outputs.add(tag.name(), out.build(cx)?);
                Ok(())
            })),
            None => lock(&self.graph).faults.push(format!(
                "side output {:?} is not directly behind an operator",
                tag.name()
            )),
        }
        Stream::of(Arc::clone(&self.graph), node)
    }

    /// Ends the chain of each task this stream comes from.
    pub(crate) fn end(&self, make: LinkFactory<T>) {
        for node in &self.nodes {
            node.add(Arc::clone(&make));
        }
    }

    /// Subtasks of the task this stream comes from; by default the job's.
    ///
    /// # Panics
    /// Never: 0 is refused when the job starts.
    #[must_use]
    pub fn parallelism(self, subtasks: usize) -> Self {
        let mut graph = lock(&self.graph);
        for node in &self.nodes {
            graph.tasks[node.task].parallelism = Some(subtasks);
        }
        drop(graph);
        self
    }

    /// Replaces each element.
    pub fn map<U: Send + 'static>(self, f: impl Fn(T) -> U + Send + Sync + 'static) -> Stream<U> {
        let f = Arc::new(f);
        self.link(move |_, next| {
            Ok(Box::new(Map {
                f: Arc::clone(&f),
                next,
            }))
        })
    }

    /// Keeps the elements that `f` wants.
    pub fn filter(self, f: impl Fn(&T) -> bool + Send + Sync + 'static) -> Self {
        let f = Arc::new(f);
        self.link_same(move |_, next| {
            Ok(Box::new(Filter {
                f: Arc::clone(&f),
                next,
            }))
        })
    }

    /// Replaces each element by any number of others.
    pub fn flat_map<U: Send + 'static>(
        self,
        f: impl Fn(T, &mut dyn Collector<U>) -> Result<()> + Send + Sync + 'static,
    ) -> Stream<U> {
        let f = Arc::new(f);
        self.link(move |_, next| {
            Ok(Box::new(FlatMap {
                f: Arc::clone(&f),
                next,
            }))
        })
    }

    /// Gives each element its event time, and makes watermarks by a generator of each subtask's own.
    ///
    /// Watermarks are sent at the end of each batch that moves them on, so event time keeps up with the
    /// elements. They are not part of checkpoints: after a restart they begin anew, as in Flink.
    pub fn assign_timestamps<F, G>(
        self,
        timestamp: F,
        generator: impl Fn() -> G + Send + Sync + 'static,
    ) -> Self
    where
        F: Fn(&T) -> Timestamp + Send + Sync + 'static,
        G: WatermarkGenerator<T> + Send + 'static,
    {
        self.timestamps(timestamp, generator, None)
    }

    /// [`assign_timestamps`](Self::assign_timestamps) for a stream that may fall silent: after `idleness`
    /// without an element it no longer holds back the event time of what is merged with it.
    pub fn assign_timestamps_with_idleness<F, G>(
        self,
        timestamp: F,
        generator: impl Fn() -> G + Send + Sync + 'static,
        idleness: Duration,
    ) -> Self
    where
        F: Fn(&T) -> Timestamp + Send + Sync + 'static,
        G: WatermarkGenerator<T> + Send + 'static,
    {
        self.timestamps(timestamp, generator, Some(idleness))
    }

    fn timestamps<F, G>(
        self,
        timestamp: F,
        generator: impl Fn() -> G + Send + Sync + 'static,
        idleness: Option<Duration>,
    ) -> Self
    where
        F: Fn(&T) -> Timestamp + Send + Sync + 'static,
        G: WatermarkGenerator<T> + Send + 'static,
    {
        const TICK: Duration = Duration::from_millis(200);
        let timestamp = Arc::new(timestamp);
        self.link_same(move |cx, next| {
            // the runtime decides when it ticks: at the end of a batch, and by the clock
            let mut options = AssignerOptions::default().with_interval(Duration::ZERO);
            if let Some(idleness) = idleness {
                options = options.with_idleness(idleness);
            }
            let now = cx.config().clock.now();
            Ok(Box::new(Timestamps {
                timestamp: Arc::clone(&timestamp),
                assigner: WatermarkAssigner::new(generator(), options, now),
                tick: Some(TICK),
                next_tick: now,
                owed: Vec::new(),
                next,
            }))
        })
    }

    /// Brings all elements of a key together: the key is computed.
    pub fn key_by<K: StateKey>(
        self,
        key: impl Fn(&T) -> K + Send + Sync + 'static,
    ) -> KeyedStream<T, KeyByValue<impl Fn(&T) -> K + Send + Sync + 'static, K>> {
        KeyedStream::new(self, KeyByValue::new(key))
    }

    /// Brings all elements of a key together: the key is a part of the element, and is not copied.
    pub fn key_by_ref<K: StateKey>(
        self,
        key: impl Fn(&T) -> &K + Send + Sync + 'static,
    ) -> KeyedStream<T, KeyByRef<impl Fn(&T) -> &K + Send + Sync + 'static, K>> {
        KeyedStream::new(self, KeyByRef::new(key))
    }

    /// Deals the elements out in turn over the subtasks of a new task.
    #[must_use]
    pub fn rebalance(self) -> Self {
        self.repartition("rebalance", None, |cx, subtasks| {
            Ok(Rebalance {
                next: cx.subtask % subtasks,
                subtasks,
            })
        })
    }

    /// Gives every subtask of a new task a copy of each element.
    #[must_use]
    pub fn broadcast(self) -> Self
    where
        T: Clone,
    {
        self.repartition("broadcast", Some(|value| Some(value.clone())), |_, _| {
            Ok(ToAll)
        })
    }

    /// Brings all elements to the first subtask of a new task.
    #[must_use]
    pub fn global(self) -> Self {
        self.repartition("global", None, |_, _| Ok(ToOne(0)))
    }

    /// Deals the elements out in a way of one's own over the subtasks of a new task.
    #[must_use]
    pub fn partition_custom(self, partitioner: impl Partitioner<T>) -> Self {
        let partitioner = Arc::new(partitioner);
        self.repartition("custom partition", None, move |_, subtasks| {
            Ok(Custom {
                partitioner: Arc::clone(&partitioner),
                subtasks,
            })
        })
    }

    fn repartition<R: Route<T> + 'static>(
        self,
        name: &str,
        copy: Option<Copy<T>>,
        route: impl Fn(&BuildContext<'_>, usize) -> Result<R> + Send + Sync + 'static,
    ) -> Self {
        let graph = Arc::clone(&self.graph);
        let mut locked = lock(&graph);
        let task = locked.tasks.len();
        reserve(&mut locked, name, &format!("{name}-{task}"));
        drop(locked);
        let codec = self.codec.clone();
        let edges = self.exchange(task, copy, route);
        let node = Node::new(task);
        let out = Arc::clone(&node);
        let build = input_task(edges, Arc::new(move |cx| out.build(cx)));
        lock(&graph).tasks[task].build = Arc::new(build);
        let mut stream = Self::of(graph, node);
        stream.codec = codec;
        stream
    }

    /// The elements of both, in no particular order.
    #[must_use]
    pub fn union(mut self, other: Self) -> Self {
        self.nodes.extend(other.nodes);
        self.sides = None;
        self.codec = self.codec.or(other.codec);
        self
    }

    /// Runs a function over the elements as they come, in the chain of the task before. `uid` names its
    /// state in checkpoints.
    pub fn process<F: ProcessFunction<In = T>>(
        self,
        uid: &str,
        make: impl Fn() -> F + Send + Sync + 'static,
    ) -> Stream<F::Out> {
        let uid = self.register(uid);
        let sides = SideNodes::default();
        let takers = Arc::clone(&sides);
        self.link(move |cx, next| {
            let mut function = make();
            if let Some(function) = function.checkpointed() {
                function.initialize_state(&cx.operator_state(&uid)?)?;
            }
            let mut outputs = SideOutputs::default();
            for side in lock(&takers).iter() {
                side(cx, &mut outputs)?;
            }
            Ok(Box::new(FunctionLink {
                function,
                info: cx.info(&uid),
                sides: outputs,
                watermark: Watermark::MIN,
                part: cx.small_part(&uid),
                next,
            }))
        })
        .with_sides(sides)
    }

    /// Names an operator at the end of this chain.
    fn register(&self, uid: &str) -> Arc<str> {
        let task = self.nodes.first().map_or(0, |node| node.task);
        let mut graph = lock(&self.graph);
        if self.nodes.len() > 1 {
            // its parts would lie in several tasks
            graph.faults.push(format!(
                "{uid:?} follows a union: put rebalance() between them"
            ));
        }
        graph.operator(uid, task, None)
    }

    /// Ends in a sink that takes part in two phases, so that its results are visible exactly once. Needs
    /// checkpoints: without them nothing ever becomes visible.
    pub fn transactional_sink<S: TransactionalSink<T>>(
        self,
        uid: &str,
        make: impl Fn() -> S + Send + Sync + 'static,
    ) {
        let uid = self.register(uid);
        self.end(Arc::new(move |cx| {
            let mut sink = make();
            let info = cx.info(&uid);
            let prepared: Vec<Vec<u8>> = cx.operator_state(&uid)?.list(TRANSACTIONS)?;
            sink.open(&info, &prepared)?;
            let part = cx.small_part(&uid);
            let prepared = BTreeMap::new();
            Ok(Box::new(TransactionalLink {
                sink,
                info,
                part,
                prepared,
                kind: PhantomData,
            }))
        }));
    }

    /// Ends in a sink: `make` makes one for each subtask.
    pub fn sink<S: Sink<T>>(self, uid: &str, make: impl Fn() -> S + Send + Sync + 'static) {
        let task = self.nodes.first().map_or(0, |node| node.task);
        lock(&self.graph).operator(uid, task, None);
        let uid = uid.to_owned();
        self.end(Arc::new(move |cx| {
            let mut sink = make();
            let info = cx.info(&uid);
            sink.open(&info)?;
            Ok(Box::new(SinkLink {
                sink,
                info,
                kind: PhantomData,
            }))
        }));
    }

    /// Ends in a function that is called with each element, by several threads when there are several
    /// subtasks.
    pub fn for_each(self, uid: &str, f: impl Fn(Element<T>) -> Result<()> + Send + Sync + 'static) {
        let f = Arc::new(f);
        self.sink(uid, move || {
            let f = Arc::clone(&f);
            move |element: Element<T>| f(element)
        });
    }

    /// Ends in a vector: for tests and small jobs.
    pub fn collect(self, uid: &str) -> Collected<T> {
        let collected = Collected {
            elements: Arc::default(),
        };
        let elements = Arc::clone(&collected.elements);
        self.for_each(uid, move |element| {
            lock(&elements).push(element);
            Ok(())
        });
        collected
    }

    /// Adds a task that this stream feeds over an exchange; `route` makes the routing of one upstream
    /// subtask, given the parallelism downstream.
    pub(crate) fn exchange<R: Route<T> + 'static>(
        &self,
        to: TaskId,
        copy: Option<Copy<T>>,
        route: impl Fn(&BuildContext<'_>, usize) -> Result<R> + Send + Sync + 'static,
    ) -> Vec<InputEdge<T>> {
        let route = Arc::new(route);
        let overtaking = match (&self.codec, copy) {
            (_, Some(_)) => Overtaking::Never,
            (Some(_), None) => Overtaking::Possible,
            (None, None) => Overtaking::NoCodec,
        };
        let mut edges = Vec::new();
        for node in &self.nodes {
            let edge = lock(&self.graph).edge(node.task, to, overtaking);
            let again = Arc::clone(&route);
            edges.push(InputEdge {
                edge,
                codec: self.codec.clone(),
                route: Arc::new(move |cx, subtasks| Ok(Box::new(again(cx, subtasks)?))),
            });
            let route = Arc::clone(&route);
            node.add(Arc::new(move |cx| {
                let matrix = cx.deployment.matrix::<T>(edge)?;
                let channels = &matrix[cx.subtask];
                let route = route(cx, channels.len())?;
                Ok(Box::new(Exchange::new(
                    route,
                    channels,
                    copy,
                    overtaking,
                    cx.config().exchange,
                )))
            }));
        }
        edges
    }
}

/// What [`Stream::collect`] collects. After a failure elements since the last checkpoint come twice.
pub struct Collected<T> {
    elements: Arc<Mutex<Vec<Element<T>>>>,
}

impl<T> fmt::Debug for Collected<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Collected")
            .field("len", &lock(&self.elements).len())
            .finish()
    }
}

impl<T> Clone for Collected<T> {
    fn clone(&self) -> Self {
        Self {
            elements: Arc::clone(&self.elements),
        }
    }
}

impl<T> Collected<T> {
    /// Takes out what has come so far, in the order of its coming.
    pub fn take(&self) -> Vec<T> {
        self.take_elements()
            .into_iter()
            .map(|element| element.value)
            .collect()
    }

    /// The same with timestamps.
    pub fn take_elements(&self) -> Vec<Element<T>> {
        std::mem::take(&mut *lock(&self.elements))
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        lock(&self.elements).len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// Adds the task of a source.
pub(crate) fn source_task<S: Source>(
    graph: &SharedGraph,
    uid: &str,
    source: S,
) -> Arc<Node<S::Item>> {
    let mut locked = lock(graph);
    let task = locked.tasks.len();
    let node = Node::new(task);
    let out = Arc::clone(&node);
    let uid = locked.operator(uid, task, None);
    let name = uid.to_string();
    let build = move |cx: &mut BuildContext<'_>| -> Result<Box<dyn Task>> {
        let chain = out.build(cx)?;
        let splits = crate::source::assigned(
            source.splits(cx.parallelism)?,
            cx.deployment.restore.as_deref(),
            &uid,
            cx.subtask,
            cx.parallelism,
        )?;
        let context = SourceContext {
            subtask: cx.subtask,
            parallelism: cx.parallelism,
            waker: SourceWaker(cx.signal()),
        };
        let reader = source.open(splits, context)?;
        let part = cx.part(&uid);
        let shell = cx.shell()?;
        Ok(Box::new(SourceTask::new(
            reader,
            chain,
            shell,
            part,
            cx.config().source_batch,
        )))
    };
    let build = Arc::new(build);
    locked.tasks.push(TaskSpec {
        name,
        is_source: true,
        inputs: None,
        parallelism: None,
        is_keyed: false,
        build,
    });
    node
}

/// Adds a task that is fed by `edges`, whose chain begins with what `head` makes.
pub(crate) fn input_task<T: Send + 'static>(
    edges: Vec<InputEdge<T>>,
    head: LinkFactory<T>,
) -> impl Fn(&mut BuildContext<'_>) -> Result<Box<dyn Task>> + Send + Sync + 'static {
    move |cx| {
        let mut inputs = Vec::new();
        for (n, edge) in edges.iter().enumerate() {
            let matrix = cx.deployment.matrix::<T>(edge.edge)?;
            let kind = match cx.deployment.graph.edges[edge.edge].overtaking {
                Overtaking::Never => InputKind::Ordered,
                Overtaking::Possible | Overtaking::NoCodec => InputKind::Overtakable,
            };
            inputs.extend(matrix.iter().map(|row| Input {
                channel: Arc::clone(&row[cx.subtask]),
                edge: n,
                kind,
                ended: false,
            }));
        }
        let chain = head(cx)?;
        let (recovered, recorder) = (cx.recovered(&edges)?, cx.recorder(&edges));
        let checkpoint = cx.config().checkpoint.as_ref();
        let mode = checkpoint.map_or_else(Default::default, |c| c.mode);
        let shell = cx.shell()?;
        Ok(Box::new(InputTask::new(
            inputs, chain, shell, mode, recovered, recorder,
        )))
    }
}
