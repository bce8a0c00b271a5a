//! Who gets which recommendation: the meeting point of the job's sink and the subscribers' streams.

use crate::{
    proto::v1::{
        Gap, Recommendation, SubscribeResponse, SubscriptionClosing, Update,
        subscribe_response::Kind,
    },
    service::{NotSent, Responder, Responses, responses},
    status::later,
};
use std::{
    collections::HashMap,
    sync::{
        Mutex, MutexGuard, PoisonError, RwLock,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};
use tokio_util::sync::WaitForCancellationFutureOwned;
use tonic::{Code, Status};

/// What a subscriber asks for.
#[derive(Debug, Clone, Default)]
pub(crate) struct Interest {
    /// Empty: every user.
    pub(crate) users: Vec<String>,
    /// Items a list.
    pub(crate) k: usize,
    /// Updates up to here are not sent.
    pub(crate) after: u64,
}

/// Names a subscriber.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct SubscriberId(u64);

#[derive(Debug)]
struct Subscriber {
    responder: Responder<SubscribeResponse>,
    k: usize,
    /// The position of the last list sent, of each user watched; `None` watches every user.
    users: Option<HashMap<String, u64>>,
    after: u64,
    last: u64,
}

#[derive(Debug, Default)]
struct Inner {
    subscribers: HashMap<SubscriberId, Subscriber>,
    next: u64,
    closed: bool,
}

/// A subscriber's name, its stream, and what resolves when its client has gone.
pub(crate) type Subscribed = (
    SubscriberId,
    Responses<SubscribeResponse>,
    WaitForCancellationFutureOwned,
);

/// All subscribers. A publication never waits: who does not keep up is ended.
#[derive(Debug)]
pub(crate) struct Hub {
    inner: Mutex<Inner>,
    watched: RwLock<Watched>,
    /// Subscribers there are, so that nobody watching costs one load an event.
    count: AtomicUsize,
    limit: usize,
    queue: usize,
}

#[derive(Debug, Default)]
struct Watched {
    users: HashMap<String, usize>,
    everyone: usize,
    k: usize,
}

impl Hub {
    pub(crate) fn new(limit: usize, queue: usize) -> Self {
        Self {
            inner: Mutex::default(),
            watched: RwLock::default(),
            count: AtomicUsize::new(0),
            limit,
            queue,
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        // A subscriber is added and removed whole.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How many subscribe.
    pub(crate) fn len(&self) -> usize {
        self.count.load(Ordering::Relaxed)
    }

    /// How long a list for this user is wanted; nothing when nobody watches.
    pub(crate) fn wanted(&self, user: &str) -> Option<usize> {
        if self.count.load(Ordering::Relaxed) == 0 {
            return None;
        }
        let watched = self.watched.read().unwrap_or_else(PoisonError::into_inner);
        (watched.everyone > 0 || watched.users.contains_key(user)).then_some(watched.k)
    }

    /// Adds a subscriber. `gap_up_to`: where the log stands, to tell one that comes back what it missed.
    ///
    /// # Errors
    /// RESOURCE_EXHAUSTED when there are too many, UNAVAILABLE when the gateway stops.
    pub(crate) fn subscribe(
        &self,
        interest: Interest,
        position: u64,
    ) -> Result<Subscribed, Status> {
        let (responder, stream) = responses(self.queue.max(2));
        let gone = responder.gone();
        let mut inner = self.lock();
        if inner.closed {
            return Err(crate::Error::ShuttingDown.into());
        }
        if inner.subscribers.len() >= self.limit {
            let text = format!("there are {} subscribers already", self.limit);
            return Err(later(
                Code::ResourceExhausted,
                text,
                Duration::from_secs(10),
            ));
        }
        if interest.after > 0 && interest.after < position {
            // There is room: the stream is new.
            let gap = Gap {
                up_to_position: position,
            };
            let _sent = responder.try_send(SubscribeResponse {
                kind: Some(Kind::Gap(gap)),
            });
        }
        let users = (!interest.users.is_empty())
            .then(|| interest.users.into_iter().map(|user| (user, 0)).collect());
        let id = SubscriberId(inner.next);
        inner.next += 1;
        let (k, after) = (interest.k, interest.after);
        inner.subscribers.insert(
            id,
            Subscriber {
                responder,
                k,
                users,
                after,
                last: after,
            },
        );
        self.recount(&inner);
        Ok((id, stream, gone))
    }

    /// Sends one subscriber a list that it did not have to wait for.
    pub(crate) fn send_present(&self, id: SubscriberId, update: Update) {
        let mut inner = self.lock();
        let outcome = inner
            .subscribers
            .get_mut(&id)
            .map(|subscriber| subscriber.offer(&update, Freshness::Present));
        if let Some(Err(why)) = outcome {
            self.drop_one(&mut inner, id, why);
        }
    }

    /// Sends an update to everyone who watches its user.
    pub(crate) fn publish(&self, update: &Update) {
        if self.count.load(Ordering::Relaxed) == 0 {
            return;
        }
        let mut inner = self.lock();
        let failed: Vec<_> = inner
            .subscribers
            .iter_mut()
            .filter_map(|(id, subscriber)| {
                subscriber
                    .offer(update, Freshness::Caused)
                    .err()
                    .map(|why| (*id, why))
            })
            .collect();
        for (id, why) in failed {
            self.drop_one(&mut inner, id, why);
        }
    }

    /// Forgets a subscriber whose client has gone.
    pub(crate) fn remove(&self, id: SubscriberId) {
        let mut inner = self.lock();
        inner.subscribers.remove(&id);
        self.recount(&inner);
    }

    /// Ends every stream with a reason; nobody can subscribe any more.
    pub(crate) fn close(&self, reason: &str) {
        let mut inner = self.lock();
        inner.closed = true;
        for (_, subscriber) in inner.subscribers.drain() {
            let closing = SubscriptionClosing {
                reason: reason.to_owned(),
                resume_position: subscriber.last,
            };
            // Where the queue is full the status alone has to say it.
            let kind = Some(Kind::Closing(closing));
            let _full = subscriber.responder.try_send(SubscribeResponse { kind });
            let status = later(Code::Unavailable, reason, Duration::from_secs(1));
            subscriber.responder.end(status);
        }
        self.recount(&inner);
    }

    fn drop_one(&self, inner: &mut Inner, id: SubscriberId, why: NotSent) {
        if let Some(subscriber) = inner.subscribers.remove(&id)
            && why == NotSent::Full
        {
            metrics::counter!("weir_slow_subscribers_total").increment(1);
            subscriber.responder.end(Status::resource_exhausted(format!(
                "the subscriber does not keep up; come back with after_position {}",
                subscriber.last
            )));
        }
        self.recount(inner);
    }

    fn recount(&self, inner: &Inner) {
        let mut watched = self.watched.write().unwrap_or_else(PoisonError::into_inner);
        *watched = Watched::default();
        for subscriber in inner.subscribers.values() {
            watched.k = watched.k.max(subscriber.k);
            match &subscriber.users {
                None => watched.everyone += 1,
                Some(users) => {
                    for user in users.keys() {
                        *watched.users.entry(user.clone()).or_default() += 1;
                    }
                }
            }
        }
        self.count.store(inner.subscribers.len(), Ordering::Relaxed);
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Freshness {
    /// An event caused it.
    Caused,
    /// The list there was when someone subscribed.
    Present,
}

impl Subscriber {
    fn offer(&mut self, update: &Update, freshness: Freshness) -> Result<(), NotSent> {
        if let Some(users) = &mut self.users {
            let Some(sent) = users.get_mut(&update.user_id) else {
                return Ok(());
            };
            // A present list may have been overtaken by an update, or the other way round.
            if update.position < *sent || (update.position == *sent && *sent > 0) {
                return Ok(());
            }
            *sent = update.position;
        }
        // After a restart of the job the events since its checkpoint come again.
        if freshness == Freshness::Caused
            && (update.position <= self.after || update.position < self.last)
        {
            return Ok(());
        }
        let recommendations: Vec<Recommendation> = update
            .recommendations
            .iter()
            .take(self.k)
            .cloned()
            .collect();
        let update = Update {
            user_id: update.user_id.clone(),
            position: update.position,
            recommendations,
        };
        self.last = self.last.max(update.position);
        self.responder.try_send(SubscribeResponse {
            kind: Some(Kind::Update(update)),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio_stream::StreamExt;

    fn update(user: &str, position: u64) -> Update {
        Update {
            user_id: user.to_owned(),
            position,
            recommendations: vec![Recommendation::default(); 5],
        }
    }

    fn interest(users: &[&str]) -> Interest {
        Interest {
            users: users.iter().map(|u| (*u).to_owned()).collect(),
            k: 3,
            after: 0,
        }
    }

    async fn positions(mut stream: Responses<SubscribeResponse>) -> (Vec<u64>, Option<Code>) {
        let mut seen = Vec::new();
        while let Some(next) = stream.next().await {
            match next {
                Ok(SubscribeResponse {
                    kind: Some(Kind::Update(update)),
                }) => {
                    assert_eq!(update.recommendations.len(), 3);
                    seen.push(update.position);
                }
                Ok(_) => {}
                Err(status) => return (seen, Some(status.code())),
            }
        }
        (seen, None)
    }

    #[tokio::test]
    async fn updates_go_to_those_who_watch_and_never_back() {
        let hub = Hub::new(10, 100);
        assert_eq!(hub.wanted("a"), None);
        let (one, some, _) = hub.subscribe(interest(&["a"]), 0).unwrap();
        assert_eq!((hub.wanted("a"), hub.wanted("b")), (Some(3), None));
        let (_, all, _) = hub.subscribe(interest(&[]), 0).unwrap();
        assert_eq!(hub.wanted("b"), Some(3));
        hub.publish(&update("b", 1));
        hub.publish(&update("a", 3));
        // Computed before the update above, sent after it.
        hub.send_present(one, update("a", 2));
        // The job came back from a checkpoint.
        hub.publish(&update("b", 1));
        hub.publish(&update("a", 3));
        hub.publish(&update("a", 4));
        hub.close("over");
        assert!(hub.subscribe(interest(&[]), 0).is_err());
        assert_eq!(positions(some).await, (vec![3, 4], Some(Code::Unavailable)));
        let (seen, _) = positions(all).await;
        assert_eq!(seen, [1, 3, 3, 4]);
    }

    #[tokio::test]
    async fn a_slow_subscriber_is_ended_and_the_others_go_on() {
        let hub = Hub::new(2, 4);
        let (_, slow, _) = hub.subscribe(interest(&[]), 0).unwrap();
        for position in 1..=10 {
            hub.publish(&update("a", position));
        }
        assert_eq!(hub.len(), 0);
        assert_eq!(
            positions(slow).await,
            (vec![1, 2, 3, 4], Some(Code::ResourceExhausted))
        );
        let _one = hub.subscribe(interest(&[]), 0).unwrap();
        let _two = hub.subscribe(interest(&[]), 0).unwrap();
        assert_eq!(
            hub.subscribe(interest(&[]), 0)
                .map(|_| ())
                .unwrap_err()
                .code(),
            Code::ResourceExhausted
        );
    }
}
