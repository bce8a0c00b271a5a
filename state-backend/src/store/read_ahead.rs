//! Reading on one thread while another uses what was read.

use crate::{Error, Result};
use std::{ops::ControlFlow, sync::mpsc::sync_channel};

/// Portions that wait to be wanted, beside the one being read.
const AHEAD: usize = 1;

/// Takes a portion, waiting until there is place for it; breaks when nobody wants any more.
pub(super) type Put<'a, T> = &'a mut dyn FnMut(T) -> ControlFlow<()>;

/// Runs `read` on a thread of its own and `take` on this one with each portion that it puts. The first
/// error ends both; if each side has one, that of `take` counts.
pub(super) fn read_ahead<T: Send>(
    read: impl FnOnce(Put<'_, T>) -> Result<()> + Send,
    take: impl FnMut(T) -> Result<()>,
) -> Result<()> {
    std::thread::scope(|scope| {
        let (sender, portions) = sync_channel(AHEAD);
        let reader = std::thread::Builder::new()
            .name("weir-restore".to_owned())
            .spawn_scoped(scope, move || {
                read(&mut |portion| match sender.send(portion) {
                    Ok(()) => ControlFlow::Continue(()),
                    Err(_) => ControlFlow::Break(()),
                })
            })
            .map_err(|source| Error::io("start a thread for", "a restore", source))?;
        let taken = portions.iter().try_for_each(take);
        // A reader that waits for place learns that none will come.
        drop(portions);
        let read = reader
            .join()
            .unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        taken.and(read)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn portions_come_in_order_and_an_error_ends_both_sides() {
        let error = |who: &str| Error::UnknownState(who.to_owned());
        let endless = |put: Put<'_, u32>| {
            let _ = (0..).try_for_each(put);
            Ok(())
        };
        let mut taken = Vec::new();
        let outcome = read_ahead(endless, |n| {
            taken.push(n);
            if n < 9 { Ok(()) } else { Err(error("taker")) }
        });
        assert!(outcome.unwrap_err().to_string().contains("taker"));
        assert_eq!(taken, (0..10).collect::<Vec<_>>());

        let mut taken = 0;
        let failing = |put: Put<'_, u32>| {
            assert!(put(1).is_continue());
            Err(error("reader"))
        };
        let outcome = read_ahead(failing, |n| {
            taken += n;
            Ok(())
        });
        assert!(outcome.unwrap_err().to_string().contains("reader"));
        assert_eq!(taken, 1);
    }
}
