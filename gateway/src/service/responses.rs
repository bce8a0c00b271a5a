//! A response stream of bounded length whose last word is heard even when it is full.

use std::{
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll},
    time::Duration,
};
use tokio::sync::mpsc;
use tokio_stream::Stream;
use tokio_util::sync::{CancellationToken, DropGuard, WaitForCancellationFutureOwned};
use tonic::Status;

/// The sending half.
#[derive(Debug)]
pub(crate) struct Responder<T> {
    messages: mpsc::Sender<T>,
    gone: CancellationToken,
    end: Arc<Mutex<Option<Status>>>,
}

/// The stream that the client reads.
#[derive(Debug)]
pub(crate) struct Responses<T> {
    messages: mpsc::Receiver<T>,
    end: Arc<Mutex<Option<Status>>>,
    /// Tells the responder when the transport lets go of the stream.
    _gone: DropGuard,
}

/// Why a message did not get into the stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NotSent {
    /// The client has gone.
    Gone,
    /// The client does not read.
    Full,
}

/// A stream of at most `capacity` waiting messages.
pub(crate) fn responses<T>(capacity: usize) -> (Responder<T>, Responses<T>) {
    let (sender, messages) = mpsc::channel(capacity);
    let end = Arc::new(Mutex::new(None));
    let gone = CancellationToken::new();
    let responder = Responder {
        messages: sender,
        gone: gone.clone(),
        end: Arc::clone(&end),
    };
    (
        responder,
        Responses {
            messages,
            end,
            _gone: gone.drop_guard(),
        },
    )
}

impl<T> Responder<T> {
    /// Puts a message in, waiting at most so long for room.
    pub(crate) async fn send(&self, message: T, at_most: Duration) -> Result<(), NotSent> {
        use mpsc::error::SendTimeoutError;
        self.messages
            .send_timeout(message, at_most)
            .await
            .map_err(|error| match error {
                SendTimeoutError::Timeout(_) => NotSent::Full,
                SendTimeoutError::Closed(_) => NotSent::Gone,
            })
    }

    /// Puts a message in if there is room.
    pub(crate) fn try_send(&self, message: T) -> Result<(), NotSent> {
        self.messages
            .try_send(message)
            .map_err(|error| match error {
                mpsc::error::TrySendError::Full(_) => NotSent::Full,
                mpsc::error::TrySendError::Closed(_) => NotSent::Gone,
            })
    }

    /// Resolves when the client has gone, or the stream has ended.
    pub(crate) fn gone(&self) -> WaitForCancellationFutureOwned {
        self.gone.clone().cancelled_owned()
    }

    /// Ends the stream behind the messages already in it, with a status.
    pub(crate) fn end(self, status: Status) {
        *self.end.lock().unwrap_or_else(PoisonError::into_inner) = Some(status);
    }
}

impl<T> Stream for Responses<T> {
    type Item = Result<T, Status>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        match self.messages.poll_recv(cx) {
            Poll::Ready(Some(message)) => Poll::Ready(Some(Ok(message))),
            Poll::Ready(None) => {
                let end = self
                    .end
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .take();
                Poll::Ready(end.map(Err))
            }
            Poll::Pending => Poll::Pending,
        }
    }
}
