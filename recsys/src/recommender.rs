use crate::catalogue::{Catalogue, CatalogueItem};
use crate::error::Result;
use crate::event::{EventType, UserEvent};
use crate::ids::{ItemId, UserId};
use crate::model::{Interaction, MemoryRecords, Model, Options, Ranked, Records, Why};
use crate::recommendation::{Recommendation, Source};

/// The whole recommender in one value: the model, the catalogue, reasons for people.
///
/// It has no clock and no thread: events bring the time, and the caller decides where it runs.
///
/// ```
/// use recsys::{EventType, Recommender, UserEvent, UserId};
/// let mut recommender = Recommender::in_memory()?;
/// for (n, (user, item)) in
///     [("ann", "lamp"), ("ann", "desk"), ("bob", "lamp"), ("bob", "desk"), ("cleo", "lamp")]
///         .into_iter()
///         .enumerate()
/// {
///     let event = UserEvent::new(user, item, EventType::View, 1_000 * n as i64)?;
///     recommender.observe(&event)?;
/// }
/// let list = recommender.recommend(&UserId::new("cleo")?, 10)?;
/// assert_eq!(list[0].item_id.as_str(), "desk");
/// assert_eq!(list[0].reason, "because you viewed lamp");
/// # Ok::<(), recsys::Error>(())
/// ```
#[derive(Debug)]
pub struct Recommender<R> {
    model: Model<R>,
    catalogue: Catalogue,
}

impl Recommender<MemoryRecords> {
    /// With default options, all records in this process's memory.
    ///
    /// # Errors
    /// None at present.
    pub fn in_memory() -> Result<Self> {
        Self::open(MemoryRecords::default(), Options::default())
    }
}

impl<R: Records> Recommender<R> {
    /// Over records, new or restored.
    ///
    /// # Errors
    /// [`crate::Error::Invalid`] for options out of bounds; those of the records.
    pub fn open(records: R, options: Options) -> Result<Self> {
        Ok(Self {
            model: Model::open(records, options)?,
            catalogue: Catalogue::default(),
        })
    }

    /// The core.
    pub fn model(&mut self) -> &mut Model<R> {
        &mut self.model
    }

    /// What is known of the items.
    pub fn catalogue(&self) -> &Catalogue {
        &self.catalogue
    }

    /// Takes in what is known of an item; it counts from the next recommendation on.
    ///
    /// # Errors
    /// [`crate::Error::Invalid`], naming the field.
    pub fn upsert_item(&mut self, item: CatalogueItem) -> Result<()> {
        item.validate()?;
        self.catalogue.upsert(item);
        Ok(())
    }

    /// Learns an event.
    ///
    /// # Errors
    /// Those of the records.
    pub fn observe(&mut self, event: &UserEvent) -> Result<()> {
        self.model.observe(Interaction {
            user: event.user_id.as_str(),
            item: event.item_id.as_str(),
            weight: event.event_type.strength(),
            positive: true,
            at_ms: event.timestamp_ms,
        })
    }

    /// The best items for a user, best first, ties by item id, each with its reason. A user nobody
    /// knows gets what is popular; an empty system gives an empty list.
    ///
    /// # Errors
    /// Those of the records.
    pub fn recommend(&mut self, user: &UserId, k: usize) -> Result<Vec<Recommendation>> {
        let ranked = self.model.recommend(user.as_str(), k)?;
        let timestamp_ms = self.model.now_ms()?;
        ranked
            .iter()
            .map(|item| self.describe(user, item, timestamp_ms))
            .collect()
    }

    fn describe(
        &mut self,
        user: &UserId,
        ranked: &Ranked,
        timestamp_ms: i64,
    ) -> Result<Recommendation> {
        let why = self.model.why(ranked)?;
        let because = match &why.because {
            Some((id, _)) => Some(ItemId::new(id.as_str())?),
            None => None,
        };
        Ok(Recommendation {
            user_id: user.clone(),
            item_id: ItemId::new(ranked.id.as_str())?,
            score: f64::from(ranked.score),
            reason: self.reason(&why),
            timestamp_ms,
            source: why.source,
            because,
            contributions: why.contributions,
        })
    }

    fn reason(&self, why: &Why) -> String {
        match (why.source, &why.because) {
            (Source::ItemCf | Source::SessionKnn, Some((id, weight))) => {
                format!("because you {} {}", verb(*weight), self.catalogue.name(id))
            }
            (Source::ItemCf, None) => "goes with what you looked at".into(),
            (Source::SessionKnn, None) => "followed in visits like yours".into(),
            (Source::UserKnn, _) => "people with a similar taste chose it".into(),
            (Source::Trending, _) => "trending now".into(),
            (Source::Recent, _) => "new here".into(),
            (Source::Again, _) => "you came back to it before".into(),
            (Source::Category, _) => "popular in a category you like".into(),
            (Source::Exploration, _) => "something new to try".into(),
            (Source::Popular, _) => "popular".into(),
        }
    }
}

/// The strongest thing the user did with an item, by the weight it has in the history.
fn verb(weight: f32) -> &'static str {
    EventType::ALL
        .into_iter()
        .rev()
        .find(|kind| weight >= kind.strength())
        .unwrap_or(EventType::View)
        .past_tense()
}

#[cfg(test)]
mod tests;
