//! Holding the memory budget: the store's clock hand.

use super::StateStore;
use crate::{Result, engine::Engine, table::any::AnyTable};

/// What is freed beyond the need, as a share of the budget: one in so many.
const SLACK: u64 = 32;

impl StateStore {
    /// Evicts until the tables fit again, if they do not.
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
        !self.pinned && (self.used > self.budget.max(self.crowded_at) || self.room_wanted > 0)
    }
}

/// Moves the hand over the groups of all tables, at most twice round: the first time may only clear
/// marks.
#[cold]
fn make_room(
    tables: &mut [Box<dyn AnyTable>],
    engine: &mut Engine,
    hand: &mut (usize, usize),
) -> Result<()> {
    engine.measure_backend();
    let groups = engine.range.len();
    let room = std::mem::take(&mut engine.room_wanted).max(engine.budget / SLACK);
    let goal = engine.budget.saturating_sub(room);
    for _ in 0..2 * groups * tables.len() {
        if engine.used <= goal {
            break;
        }
        let (table, group) = *hand;
        tables[table % tables.len()].evict_step(engine, group)?;
        *hand = if group + 1 < groups {
            (table, group + 1)
        } else {
            ((table + 1) % tables.len(), 0)
        };
    }
    // What cannot be evicted must not be tried for with every operation.
    engine.crowded_at = if engine.used > engine.budget {
        engine.used + engine.budget / 64
    } else {
        0
    };
    Ok(())
}
