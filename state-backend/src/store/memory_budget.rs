//! Holding the memory budget: the store's clock hand.

use super::StateStore;
use crate::{
    Result,
    engine::Engine,
    table::{any::AnyTable, evict::STEP_ROWS},
};

/// Most steps that one operation is kept for.
const STEPS: usize = 16;
/// Rows that are evicted between two questions to the backend how much it holds.
const ASK_EVERY: u64 = 4096;

impl StateStore {
    /// Evicts some rows if the tables do not fit. An operation adds less than that.
    #[inline]
    pub(crate) fn hold_budget(&mut self) -> Result<()> {
        if self.engine.is_crowded() {
            make_room(&mut self.tables, &mut self.engine, &mut self.hand)?;
        }
        Ok(())
    }
}

impl Engine {
    #[inline]
    pub(crate) fn is_crowded(&self) -> bool {
        self.used > self.crowded_at
    }
}

/// Moves the hand on over the groups of all tables, some rows or places far.
#[cold]
fn make_room(
    tables: &mut [Box<dyn AnyTable>],
    engine: &mut Engine,
    hand: &mut (usize, usize),
) -> Result<()> {
    if engine.evicted - engine.asked_at >= ASK_EVERY {
        engine.measure_backend();
    }
    let groups = engine.range.len();
    let enough = engine.evicted + STEP_ROWS as u64;
    for _ in 0..STEPS {
        if engine.used <= engine.budget || engine.evicted >= enough {
            break;
        }
        let (table, group) = *hand;
        if tables[table % tables.len()].evict_step(engine, group)? {
            *hand = if group + 1 < groups {
                (table, group + 1)
            } else {
                ((table + 1) % tables.len(), 0)
            };
            engine.passed += 1;
        }
    }
    if engine.used <= engine.budget {
        (engine.passed, engine.crowded_at) = (0, engine.budget);
    } else if engine.passed >= 2 * groups * tables.len() {
        // Twice round: the first time may only have cleared marks. What cannot be evicted must not be tried for
        // with every operation.
        engine.passed = 0;
        engine.crowded_at = engine.used + engine.budget / 64;
    }
    Ok(())
}
