//! A stream and a broadcast stream into one function.

use crate::broadcast::{BroadcastProcessFunction, KeyedBroadcastProcessFunction};
use crate::codec;
use crate::connect::Either;
use crate::graph::{LinkFactory, Node, lock};
use crate::key::KeySelector;
use crate::keyed_stream::{KeyedStream, keyed_link, reserve, reserve_keyed};
use crate::partition::{KeyRoute, Rebalance, ToAll};
use crate::runtime::broadcast::{BroadcastLink, EitherSide, KeyedSide, LeftRoute, copy_right};
use crate::runtime::deployment::BuildContext;
use crate::runtime::exchange::Route;
use crate::stream::{SideNodes, Stream, input_task};
use std::fmt;
use std::sync::Arc;

/// A stream and a broadcast stream: [`process`](Self::process) puts a function over both.
pub struct BroadcastConnectedStream<S, B> {
    stream: S,
    broadcast: Stream<B>,
}

impl<S: fmt::Debug, B> fmt::Debug for BroadcastConnectedStream<S, B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BroadcastConnectedStream")
            .field("stream", &self.stream)
            .field("broadcast", &self.broadcast)
            .finish()
    }
}

impl<T: Send + 'static, S: KeySelector<T>> KeyedStream<T, S> {
    /// Connects this stream with one whose elements each subtask gets a copy of, for a
    /// [`KeyedBroadcastProcessFunction`].
    pub fn connect_broadcast<B: Clone + Send + 'static>(
        self,
        broadcast: Stream<B>,
    ) -> BroadcastConnectedStream<Self, B> {
        BroadcastConnectedStream {
            stream: self,
            broadcast,
        }
    }
}

impl<T: Send + 'static> Stream<T> {
    /// Connects this stream, dealt out in turn over the subtasks of a new task, with one whose elements each
    /// of these gets a copy of, for a [`BroadcastProcessFunction`].
    pub fn connect_broadcast<B: Clone + Send + 'static>(
        self,
        broadcast: Stream<B>,
    ) -> BroadcastConnectedStream<Self, B> {
        BroadcastConnectedStream {
            stream: self,
            broadcast,
        }
    }
}

impl<T, S, B> BroadcastConnectedStream<KeyedStream<T, S>, B>
where
    T: Send + 'static,
    S: KeySelector<T>,
    B: Clone + Send + 'static,
{
    /// Runs a function over both. `uid` names its state in checkpoints; `make` makes the function of each
    /// subtask.
    pub fn process<F>(
        self,
        uid: &str,
        make: impl Fn() -> F + Send + Sync + 'static,
    ) -> Stream<F::Out>
    where
        F: KeyedBroadcastProcessFunction<In = T, Broadcast = B>,
    {
        let KeyedStream { stream, selector } = self.stream;
        let graph = Arc::clone(&stream.graph);
        let (task, uid) = reserve_keyed(&mut lock(&graph), uid, None);
        let by_key = Arc::clone(&selector);
        let route = move |cx: &BuildContext<'_>, subtasks: usize| {
            let max = cx.config().max_parallelism;
            KeyRoute::new(Arc::clone(&by_key), max, subtasks)
        };
        let node = Node::new(task);
        let out = Arc::clone(&node);
        let sides = SideNodes::default();
        let takers = Arc::clone(&sides);
        let head: LinkFactory<Either<T, B>> = Arc::new(move |cx| {
            let next = out.build(cx)?;
            let operator = KeyedSide::new(make());
            let selector = Arc::clone(&selector);
            let link = keyed_link(cx, &uid, operator, selector, &takers, next)?;
            Ok(Box::new(BroadcastLink(link)))
        });
        connect(stream, self.broadcast, task, route, head);
        Stream::of(graph, node).with_sides(sides)
    }
}

impl<T, B> BroadcastConnectedStream<Stream<T>, B>
where
    T: Send + 'static,
    B: Clone + Send + 'static,
{
    /// Runs a function over both. `uid` names its state in checkpoints; `make` makes the function of each
    /// subtask.
    pub fn process<F>(
        self,
        uid: &str,
        make: impl Fn() -> F + Send + Sync + 'static,
    ) -> Stream<F::Out>
    where
        F: BroadcastProcessFunction<In = T, Broadcast = B>,
    {
        let graph = Arc::clone(&self.stream.graph);
        let mut locked = lock(&graph);
        let task = locked.tasks.len();
        reserve(&mut locked, uid, uid);
        drop(locked);
        let route = |cx: &BuildContext<'_>, subtasks: usize| {
            Ok(Rebalance {
                next: cx.subtask % subtasks,
                subtasks,
            })
        };
        let node = Node::new(task);
        let out = Arc::clone(&node);
        let head: LinkFactory<Either<T, B>> = Arc::new(move |cx| out.build(cx));
        connect(self.stream, self.broadcast, task, route, head);
        Stream::of(graph, node).process(uid, move || EitherSide::new(make()))
    }
}

/// Feeds a task by both streams: the first as `route` says, the second to all.
fn connect<T, B, R>(
    stream: Stream<T>,
    broadcast: Stream<B>,
    task: usize,
    route: impl Fn(&BuildContext<'_>, usize) -> crate::Result<R> + Send + Sync + 'static,
    head: LinkFactory<Either<T, B>>,
) where
    T: Send + 'static,
    B: Clone + Send + 'static,
    R: Route<T> + 'static,
{
    let graph = Arc::clone(&stream.graph);
    let codec = codec::of_left(stream.codec.clone());
    let mut stream = stream.map(Either::<T, B>::Left);
    stream.codec = codec;
    let mut edges = stream.exchange(task, None, move |cx, subtasks| {
        Ok(LeftRoute(route(cx, subtasks)?))
    });
    let broadcast = broadcast.map(Either::<T, B>::Right);
    edges.extend(broadcast.exchange(task, Some(copy_right), |_, _| Ok(ToAll)));
    lock(&graph).tasks[task].build = Arc::new(input_task(edges, head));
}
