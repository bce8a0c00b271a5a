//! The timers of one keyed operator: in order in memory, and as keyed state, so that they are in every
//! checkpoint and move with their key group.

use crate::error::Result;
use crate::operator::TimerChange;
use state_backend::{
    MapDef, MapState, MaxParallelism, PreparedKey, StateKey, StateStore, split_row_key,
};
use std::cmp::Ordering;
use time_engine::{TimeDomain, Timer, TimerService, Timestamp};

/// A key in the order of its bytes.
#[derive(Debug, Clone)]
pub(crate) struct TimerKey(pub(crate) PreparedKey);

impl PartialEq for TimerKey {
    fn eq(&self, other: &Self) -> bool {
        self.0.key_bytes() == other.0.key_bytes()
    }
}

impl Eq for TimerKey {}

impl PartialOrd for TimerKey {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for TimerKey {
    fn cmp(&self, other: &Self) -> Ordering {
        self.0.key_bytes().cmp(other.0.key_bytes())
    }
}

/// `(is processing time, ms)`.
type TimerId = (bool, i64);

const TIMERS: &str = "__timers";

#[derive(Debug)]
pub(crate) struct KeyTimers {
    service: TimerService<TimerKey>,
    state: MapState<TimerId, bool>,
}

fn id(domain: TimeDomain, at: Timestamp) -> TimerId {
    (domain == TimeDomain::Processing, at.as_millis())
}

impl KeyTimers {
    /// Finds the timers among the restored state.
    pub(crate) fn open<K: StateKey>(store: &mut StateStore, max: MaxParallelism) -> Result<Self> {
        let state: MapState<TimerId, bool> = store.map(&MapDef::new(TIMERS))?;
        let mut service = TimerService::new();
        let mut damaged = None;
        store.for_each(&state, |row, _| match split_row_key::<K, ()>(row) {
            Ok((key, _, mut rest)) => match TimerId::decode(&mut rest) {
                Ok((processing, at)) => {
                    let domain = if processing {
                        TimeDomain::Processing
                    } else {
                        TimeDomain::Event
                    };
                    let key = TimerKey(PreparedKey::new(&key, max));
                    service.register(domain, Timer::new(Timestamp::from_millis(at), key));
                }
                Err(error) => damaged = Some(error),
            },
            Err(error) => damaged = Some(error),
        })?;
        match damaged {
            Some(error) => Err(error.into()),
            None => Ok(Self { service, state }),
        }
    }

    pub(crate) fn apply(
        &mut self,
        store: &mut StateStore,
        key: &PreparedKey,
        changes: &mut Vec<TimerChange>,
    ) -> Result<()> {
        let mut scope = store.scope_of(key);
        for change in changes.drain(..) {
            match change {
                TimerChange::Register(domain, at) => {
                    if self
                        .service
                        .register(domain, Timer::new(at, TimerKey(key.clone())))
                    {
                        self.state.put(&mut scope, &id(domain, at), true)?;
                    }
                }
                TimerChange::Delete(domain, at) => {
                    if self
                        .service
                        .delete(domain, &Timer::new(at, TimerKey(key.clone())))
                    {
                        self.state.remove(&mut scope, &id(domain, at))?;
                    }
                }
            }
        }
        Ok(())
    }

    /// The timer is gone, from state too, before its callback runs.
    pub(crate) fn pop_due(
        &mut self,
        store: &mut StateStore,
        domain: TimeDomain,
        reached: Timestamp,
    ) -> Result<Option<(Timestamp, PreparedKey)>> {
        let Some(Timer {
            at,
            key: TimerKey(key),
        }) = self.service.pop_due(domain, reached)
        else {
            return Ok(None);
        };
        self.state
            .remove(&mut store.scope_of(&key), &id(domain, at))?;
        Ok(Some((at, key)))
    }

    pub(crate) fn next(&self, domain: TimeDomain) -> Option<Timestamp> {
        self.service.next(domain)
    }

    pub(crate) fn len(&self) -> usize {
        self.service.len(TimeDomain::Event) + self.service.len(TimeDomain::Processing)
    }
}
