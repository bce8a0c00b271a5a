//! Windows over keyed streams.

use crate::graph::lock;
use crate::key::KeySelector;
use crate::keyed_stream::KeyedStream;
use crate::runtime::windows::{RegisteredWindows, WindowLink};
use crate::side_output::{OutputTag, SideOutputs};
use crate::stream::{SideNodes, Stream};
use serde::{Serialize, de::DeserializeOwned};
use std::fmt;
use std::sync::Arc;
use time_engine::window::{Aggregate, KeyedWindows, Window};

/// What a window gave. Its timestamp is the window's last instant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WindowResult<K, V> {
    /// Whose window.
    pub key: K,
    /// Of which specification, counted from 0, when there are several.
    pub spec: usize,
    /// Which window.
    pub window: Window,
    /// The aggregate's result.
    pub value: V,
}

/// Finds what a window aggregates in an element. Implemented by [`WholeElement`] and by what
/// [`KeyedStream::window_of`] makes of its closure.
pub trait Extract<T, In>: Send + Sync + 'static {
    /// Calls `take` with it.
    fn with<R>(&self, value: &T, take: impl FnOnce(&In) -> R) -> R;
}

/// The element itself.
#[derive(Debug, Clone, Copy)]
pub struct WholeElement;

impl<T> Extract<T, T> for WholeElement {
    #[inline]
    fn with<R>(&self, value: &T, take: impl FnOnce(&T) -> R) -> R {
        take(value)
    }
}

/// A computed part.
pub struct Part<F>(pub(crate) F);

impl<F> fmt::Debug for Part<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Part").finish_non_exhaustive()
    }
}

impl<T, In, F: Fn(&T) -> In + Send + Sync + 'static> Extract<T, In> for Part<F> {
    #[inline]
    fn with<R>(&self, value: &T, take: impl FnOnce(&In) -> R) -> R {
        take(&(self.0)(value))
    }
}

/// The results of windows over a stream by key `K`.
pub type Windowed<K, W> =
    Stream<WindowResult<K, <<W as KeyedWindows>::Aggregate as Aggregate>::Out>>;

impl<T: Send + 'static, S: KeySelector<T>> KeyedStream<T, S> {
    /// Puts the elements of each key into windows and aggregates them. `make` makes the windows of each
    /// subtask: [`time_engine::window::SharedWindows`] for one or several specifications over one
    /// stream, [`time_engine::window::PlainWindows`] to evaluate each window by itself.
    ///
    /// What comes too late for every window is counted, and goes to the side output [`late`] of this type
    /// when that is taken.
    ///
    /// [`late`]: late
    pub fn window<W>(
        self,
        uid: &str,
        make: impl Fn() -> time_engine::Result<W> + Send + Sync + 'static,
    ) -> Windowed<S::Key, W>
    where
        W: KeyedWindows + Send + 'static,
        W::State: Serialize + DeserializeOwned + Send + 'static,
        W::Aggregate: Aggregate<In = T>,
        <W::Aggregate as Aggregate>::Out: Send + 'static,
    {
        self.windowed(uid, WholeElement, make)
    }

    /// [`window`](Self::window) that aggregates a part of each element.
    pub fn window_of<W>(
        self,
        uid: &str,
        part: impl Fn(&T) -> <W::Aggregate as Aggregate>::In + Send + Sync + 'static,
        make: impl Fn() -> time_engine::Result<W> + Send + Sync + 'static,
    ) -> Windowed<S::Key, W>
    where
        W: KeyedWindows + Send + 'static,
        W::State: Serialize + DeserializeOwned + Send + 'static,
        <W::Aggregate as Aggregate>::Out: Send + 'static,
    {
        self.windowed(uid, Part(part), make)
    }

    fn windowed<W, X>(
        self,
        uid: &str,
        extract: X,
        make: impl Fn() -> time_engine::Result<W> + Send + Sync + 'static,
    ) -> Windowed<S::Key, W>
    where
        W: KeyedWindows + Send + 'static,
        W::State: Serialize + DeserializeOwned + Send + 'static,
        <W::Aggregate as Aggregate>::Out: Send + 'static,
        X: Extract<T, <W::Aggregate as Aggregate>::In>,
    {
        let selector = Arc::clone(&self.selector);
        let extract = Arc::new(extract);
        let sides = SideNodes::default();
        let takers = Arc::clone(&sides);
        self.keyed_task(uid, None, move |cx, uid, next| {
            let windows = make()?;
            let registered = cx.store(uid, |store| {
                store.set_key_type::<S::Key>();
                RegisteredWindows::open::<S::Key>(&windows, store)
            })?;
            let mut outputs = SideOutputs::default();
            for side in lock(&takers).iter() {
                side(cx, &mut outputs)?;
            }
            let snapshots = cx.snapshots(uid)?;
            Ok(Box::new(WindowLink::open(
                windows,
                Arc::clone(&extract),
                Arc::clone(&selector),
                registered,
                outputs,
                Some(late::<T>()),
                cx.info(uid),
                snapshots,
                next,
            )))
        })
        .with_sides(sides)
    }
}

/// The side output for elements that came too late for every window:
/// `windowed.side_output(operators::late::<Event>())`.
pub const fn late<T>() -> OutputTag<T> {
    OutputTag::new("late")
}
