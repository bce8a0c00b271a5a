//! Aggregates over all that has come of a key so far.

use crate::element::{Collector, Element};
use crate::error::Result;
use crate::key::KeySelector;
use crate::keyed_stream::KeyedStream;
use crate::operator::{Operator, OperatorContext};
use crate::stream::Stream;
use crate::window::{Extract, Part, WholeElement};
use serde::{Serialize, de::DeserializeOwned};
use state_backend::{StateKey, StateStore, StateValue, ValueDef, ValueState};
use std::marker::PhantomData;
use std::sync::Arc;
use time_engine::window::Aggregate;

/// Flink's `StreamGroupedReduceOperator`.
struct RunningReduce<T, F> {
    reduce: Arc<F>,
    value: ValueState<T>,
}

impl<T, F> Operator for RunningReduce<T, F>
where
    T: StateValue + Clone,
    F: Fn(&mut T, T) + Send + Sync + 'static,
{
    type In = T;
    type Out = T;

    fn open(&mut self, store: &mut StateStore) -> Result<()> {
        self.value = store.value(&ValueDef::new("reduced"))?;
        Ok(())
    }

    fn on_element(
        &mut self,
        element: Element<T>,
        cx: &mut OperatorContext<'_>,
        out: &mut dyn Collector<T>,
    ) -> Result<()> {
        let mut value = Some(element.value);
        let reduced = self.value.update(&mut cx.state, |so_far| {
            if let Some(value) = value.take() {
                (self.reduce)(so_far, value);
            }
            so_far.clone()
        })?;
        match (reduced, value) {
            (Some(reduced), _) => out.collect(reduced),
            (None, Some(first)) => {
                self.value.set(&mut cx.state, first.clone())?;
                out.collect(first);
            }
            (None, None) => {}
        }
        Ok(())
    }
}

struct RunningAggregate<T, K, A: Aggregate, X> {
    aggregate: A,
    extract: Arc<X>,
    acc: ValueState<A::Acc>,
    kind: PhantomData<fn(T) -> K>,
}

impl<T, K, A, X> Operator for RunningAggregate<T, K, A, X>
where
    T: Send + 'static,
    K: StateKey,
    A: Aggregate + Send,
    A::Acc: Serialize + DeserializeOwned + Send,
    A::Out: Send + 'static,
    X: Extract<T, A::In>,
{
    type In = T;
    type Out = (K, A::Out);

    fn open(&mut self, store: &mut StateStore) -> Result<()> {
        self.acc = store.value(&ValueDef::new("aggregate"))?;
        Ok(())
    }

    fn on_element(
        &mut self,
        element: Element<T>,
        cx: &mut OperatorContext<'_>,
        out: &mut dyn Collector<(K, A::Out)>,
    ) -> Result<()> {
        let aggregate = &self.aggregate;
        let result = self.extract.with(&element.value, |value| {
            self.acc.update_or_insert_with(
                &mut cx.state,
                || aggregate.create(),
                |acc| {
                    aggregate.add(acc, value, element.timestamp);
                    aggregate.result(acc)
                },
            )
        })?;
        out.collect((cx.key()?, result));
        Ok(())
    }
}

impl<T: Send + 'static, S: KeySelector<T>> KeyedStream<T, S> {
    /// Combines the elements of each key with what has come of it so far, and emits that after each (Flink's
    /// `KeyedStream.reduce`; also its `sum`, `min` and `max`). `uid` names the state in checkpoints.
    ///
    /// ```
    /// # use operators::{JobConfig, StreamEnvironment, VecSource};
    /// let env = StreamEnvironment::new();
    /// let sums = env
    ///     .source("sales", VecSource::new([("ann", 3), ("bob", 5), ("ann", 4)]))
    ///     .map(|(who, n)| (who.to_owned(), n))
    ///     .key_by_ref(|(who, _): &(String, u64)| who)
    ///     .reduce("sum", |sum, (_, n)| sum.1 += n)
    ///     .collect("out");
    /// env.execute(JobConfig::default())?.wait()?;
    /// let sums = sums.take();
    /// assert_eq!(sums, [("ann".to_owned(), 3), ("bob".to_owned(), 5), ("ann".to_owned(), 7)]);
    /// # Ok::<(), operators::Error>(())
    /// ```
    pub fn reduce(self, uid: &str, reduce: impl Fn(&mut T, T) + Send + Sync + 'static) -> Stream<T>
    where
        T: StateValue + Clone,
    {
        let reduce = Arc::new(reduce);
        self.process(uid, move || RunningReduce {
            reduce: Arc::clone(&reduce),
            value: ValueState::default(),
        })
    }

    /// Aggregates all elements of each key and emits the key and the result so far after each: any
    /// [`Aggregate`] of [`time_engine::window`], without windows. `uid` names the state in checkpoints.
    pub fn aggregate<A>(
        self,
        uid: &str,
        make: impl Fn() -> A + Send + Sync + 'static,
    ) -> Stream<(S::Key, A::Out)>
    where
        A: Aggregate<In = T> + Send,
        A::Acc: Serialize + DeserializeOwned + Send,
        A::Out: Send + 'static,
    {
        self.aggregated(uid, WholeElement, make)
    }

    /// [`aggregate`](Self::aggregate) of a part of each element.
    pub fn aggregate_of<A>(
        self,
        uid: &str,
        part: impl Fn(&T) -> A::In + Send + Sync + 'static,
        make: impl Fn() -> A + Send + Sync + 'static,
    ) -> Stream<(S::Key, A::Out)>
    where
        A: Aggregate + Send,
        A::Acc: Serialize + DeserializeOwned + Send,
        A::Out: Send + 'static,
    {
        self.aggregated(uid, Part(part), make)
    }

    fn aggregated<A, X>(
        self,
        uid: &str,
        extract: X,
        make: impl Fn() -> A + Send + Sync + 'static,
    ) -> Stream<(S::Key, A::Out)>
    where
        A: Aggregate + Send,
        A::Acc: Serialize + DeserializeOwned + Send,
        A::Out: Send + 'static,
        X: Extract<T, A::In>,
    {
        let extract = Arc::new(extract);
        self.process(uid, move || RunningAggregate {
            aggregate: make(),
            extract: Arc::clone(&extract),
            acc: ValueState::default(),
            kind: PhantomData,
        })
    }
}
