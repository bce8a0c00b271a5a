//! Reading files on one thread while another uses what was read.

use crate::error::{Error, Result, Retry};
use std::sync::mpsc::{SyncSender, sync_channel};

/// Portions that wait to be wanted, beside the one being read.
const AHEAD: usize = 1;

/// Why a reader ends early.
#[derive(Debug)]
pub(crate) enum Stop {
    /// Nobody wants any more.
    Unwanted,
    Failed(Error),
}

impl From<Error> for Stop {
    fn from(error: Error) -> Self {
        Self::Failed(error)
    }
}

/// Where a reader puts its portions.
#[derive(Debug)]
pub(crate) struct Portions<T>(SyncSender<T>);

impl<T> Portions<T> {
    /// Hands a portion on, waiting until there is place for it.
    pub(crate) fn put(&self, portion: T) -> Result<(), Stop> {
        self.0.send(portion).map_err(|_| Stop::Unwanted)
    }
}

/// Runs `read` on a thread of its own and `take` on this one with each portion that it puts. The first
/// error ends both; if each side has one, that of `take` counts.
pub(crate) fn read_ahead<T: Send>(
    read: impl FnOnce(&Portions<T>) -> Result<(), Stop> + Send,
    take: impl FnMut(T) -> Result<()>,
) -> Result<()> {
    std::thread::scope(|scope| {
        let (sender, portions) = sync_channel(AHEAD);
        let reader = std::thread::Builder::new()
            .name("weir-restore".to_owned())
            .spawn_scoped(scope, move || read(&Portions(sender)))
            .map_err(|source| Error::Blob {
                operation: "begin to read",
                path: String::new(),
                retry: Retry::MayHelp,
                source: source.into(),
            })?;
        let taken = portions.iter().try_for_each(take);
        // A reader that waits for place learns that none will come.
        drop(portions);
        match reader.join() {
            Err(panic) => std::panic::resume_unwind(panic),
            Ok(Err(Stop::Failed(error))) => taken.and(Err(error)),
            Ok(Err(Stop::Unwanted) | Ok(())) => taken,
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(location: &str) -> Error {
        Error::NotFound {
            location: location.to_owned(),
        }
    }

    #[test]
    fn portions_come_in_order_and_an_error_ends_both_sides() {
        let endless = |portions: &Portions<u32>| (0..).try_for_each(|n| portions.put(n));
        let mut taken = Vec::new();
        let outcome = read_ahead(endless, |n| {
            taken.push(n);
            if n < 9 { Ok(()) } else { Err(error("taker")) }
        });
        assert!(outcome.unwrap_err().to_string().contains("taker"));
        assert_eq!(taken, (0..10).collect::<Vec<_>>());

        let mut taken = 0;
        let failing = |portions: &Portions<u32>| {
            portions.put(1)?;
            Err(error("reader").into())
        };
        let outcome = read_ahead(failing, |n| {
            taken += n;
            Ok(())
        });
        assert!(outcome.unwrap_err().to_string().contains("reader"));
        assert_eq!(taken, 1);
    }
}
