//! Streams by key.

use crate::error::Result;
use crate::graph::{Graph, LinkFactory, Node, TaskId, TaskSpec, lock};
use crate::key::KeySelector;
use crate::operator::{Operator, QueryOperator};
use crate::partition::KeyRoute;
use crate::runtime::deployment::BuildContext;
use crate::runtime::keyed::{Answer, KeyedLink};
use crate::runtime::link::Next;
use crate::runtime::query::{QueryHandle, RouteTable};
use crate::runtime::timers::KeyTimers;
use crate::side_output::SideOutputs;
use crate::stream::{SideNodes, Stream, input_task};
use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;
use time_engine::Watermark;

/// A stream whose elements of one key come together, on the subtask that owns the key's state.
pub struct KeyedStream<T, S> {
    pub(crate) stream: Stream<T>,
    pub(crate) selector: Arc<S>,
}

impl<T, S> fmt::Debug for KeyedStream<T, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyedStream")
            .field("stream", &self.stream)
            .finish_non_exhaustive()
    }
}

/// The results of an operator, and the handle to ask it through.
pub type Queryable<O, K> = (
    Stream<<O as Operator>::Out>,
    QueryHandle<K, <O as QueryOperator>::Request, <O as QueryOperator>::Reply>,
);

impl<T: Send + 'static, S: KeySelector<T>> KeyedStream<T, S> {
    pub(crate) fn new(stream: Stream<T>, selector: S) -> Self {
        Self {
            stream,
            selector: Arc::new(selector),
        }
    }

    /// Runs an operator with state and timers for each key.
    ///
    /// `uid` names its state in checkpoints: as long as it stays the same the rest of the job may change.
    /// `make` makes the operator of each subtask, again after each restart.
    pub fn process<O: Operator<In = T>>(
        self,
        uid: &str,
        make: impl Fn() -> O + Send + Sync + 'static,
    ) -> Stream<O::Out> {
        self.add(uid, make, None, None)
    }

    /// [`process`](Self::process) for an operator that also answers questions from outside; ask through
    /// the handle.
    pub fn process_queryable<O: QueryOperator<In = T>>(
        self,
        uid: &str,
        make: impl Fn() -> O + Send + Sync + 'static,
    ) -> Queryable<O, S::Key> {
        let routes = Arc::new(RouteTable::default());
        let handle = QueryHandle {
            operator: uid.into(),
            routes: Arc::clone(&routes),
            kind: PhantomData,
        };
        let stream = self.add(uid, make, Some(KeyedLink::<O, S>::answer), Some(routes));
        (stream, handle)
    }

    fn add<O: Operator<In = T>>(
        self,
        uid: &str,
        make: impl Fn() -> O + Send + Sync + 'static,
        answer: Option<Answer<O, S>>,
        routes: Option<Arc<RouteTable>>,
    ) -> Stream<O::Out> {
        let selector = Arc::clone(&self.selector);
        let sides = SideNodes::default();
        let takers = Arc::clone(&sides);
        self.keyed_task(uid, routes.clone(), move |cx, uid, next| {
            let selector = Arc::clone(&selector);
            let mut link = keyed_link(cx, uid, make(), selector, &takers, next)?;
            link.answer = answer;
            if let Some(routes) = &routes {
                routes.set(cx.subtask, cx.route());
            }
            Ok(Box::new(link))
        })
        .with_sides(sides)
    }

    /// Adds a task behind a keyed exchange whose chain begins with what `head` makes.
    pub(crate) fn keyed_task<U: Send + 'static>(
        self,
        uid: &str,
        routes: Option<Arc<RouteTable>>,
        head: impl Fn(&mut BuildContext<'_>, &Arc<str>, Next<U>) -> Result<Next<T>>
        + Send
        + Sync
        + 'static,
    ) -> Stream<U> {
        let graph = Arc::clone(&self.stream.graph);
        let (task, uid) = reserve_keyed(&mut lock(&graph), uid, routes);
        let selector = self.selector;
        let edges = self.stream.exchange(task, None, move |cx, subtasks| {
            KeyRoute::new(Arc::clone(&selector), cx.config().max_parallelism, subtasks)
        });
        let node = Node::new(task);
        let out = Arc::clone(&node);
        let head: LinkFactory<T> = Arc::new(move |cx| {
            let next = out.build(cx)?;
            head(cx, &uid, next)
        });
        lock(&graph).tasks[task].build = Arc::new(input_task(edges, head));
        Stream::of(graph, node)
    }
}

/// An operator of one subtask, with its state restored.
pub(crate) fn keyed_link<T, O, S>(
    cx: &mut BuildContext<'_>,
    uid: &Arc<str>,
    mut operator: O,
    selector: Arc<S>,
    takers: &SideNodes,
    next: Next<O::Out>,
) -> Result<KeyedLink<O, S>>
where
    O: Operator<In = T>,
    S: KeySelector<T>,
{
    let max = cx.config().max_parallelism;
    let (store, timers) = cx.store(uid, |store| {
        store.set_key_type::<S::Key>();
        operator.open(store)?;
        KeyTimers::open::<S::Key>(store, max)
    })?;
    if let Some(function) = operator.checkpointed() {
        function.initialize_state(&cx.operator_state(uid)?)?;
    }
    let mut sides = SideOutputs::default();
    for side in lock(takers).iter() {
        side(cx, &mut sides)?;
    }
    Ok(KeyedLink {
        operator,
        selector,
        max,
        store,
        timers,
        changes: Vec::new(),
        sides,
        info: cx.info(uid),
        watermark: Watermark::MIN,
        snapshots: cx.snapshots(uid)?,
        answer: None,
        uid: Arc::clone(uid),
        next,
    })
}

/// Takes the next task's number; how to build it is filled in by the caller. `id` must not be another's.
pub(crate) fn reserve(graph: &mut Graph, name: &str, id: &str) {
    graph.tasks.push(TaskSpec {
        name: name.to_owned(),
        is_source: false,
        inputs: Some(format!("{id}.inputs").into()),
        parallelism: None,
        is_keyed: false,
        build: Arc::new(|_| Err(crate::Error::invalid("a task without a head"))),
    });
}

/// The same for a task behind a keyed exchange that keeps state under `uid`; returns both.
pub(crate) fn reserve_keyed(
    graph: &mut Graph,
    uid: &str,
    routes: Option<Arc<RouteTable>>,
) -> (TaskId, Arc<str>) {
    let task = graph.tasks.len();
    reserve(graph, uid, uid);
    graph.tasks[task].is_keyed = true;
    (task, graph.operator(uid, task, routes))
}
