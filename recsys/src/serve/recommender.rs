use crate::catalogue::CatalogueItem;
use crate::error::Result;
use crate::event::{EventType, UserEvent};
use crate::ids::{ItemId, UserId};
use crate::model::{Interaction, MemoryRecords, Model, Options, Ranked, Ranking, Records, Why};
use crate::recommendation::{Recommendation, Source};
use crate::serve::experiment::{ATTRIBUTION_MS, Counts, Experiment, VariantReport};
use crate::serve::request::{Command, Request, Shown};
use crate::serve::rules::Rules;

/// The whole recommender as functions over records: model, catalogue, rules, reasons, experiments.
///
/// It has no clock and no thread: events bring the time, and the caller decides where it runs. What
/// it knows lives in the records alone; [`Recommender`] holds both in one value.
#[derive(Debug)]
pub struct Engine {
    pub(crate) model: Model,
    pub(crate) ranking: Ranking,
    seed: u64,
}

impl Engine {
    /// Over records, new or restored.
    ///
    /// # Errors
    /// [`crate::Error::Invalid`] for options out of bounds; those of the records.
    pub fn open<R: Records>(r: &mut R, options: Options) -> Result<Self> {
        Ok(Self {
            model: Model::open(r, options)?,
            ranking: Ranking::default(),
            seed: 0,
        })
    }

    /// Puts items in another order than the learned fusion's. All is learnt all the same, so the
    /// choice can change from one start to the next.
    #[must_use]
    pub fn with_ranking(mut self, ranking: Ranking) -> Self {
        self.ranking = ranking;
        self
    }

    /// The core.
    pub fn model(&mut self) -> &mut Model {
        &mut self.model
    }

    /// Takes in a command. The state is a function of the commands and their order alone.
    ///
    /// # Errors
    /// [`crate::Error::Invalid`], naming the field, with nothing changed; those of the records.
    pub fn apply<R: Records>(&mut self, r: &mut R, command: &Command) -> Result<()> {
        match command {
            Command::Event(event) => self.observe(r, event),
            Command::Upsert(item) => {
                item.validate()?;
                let id = item.item_id.as_str();
                r.put_catalogue_item(id, Some(item.clone()))?;
                self.model.categorise(r, id, Some(&item.category))
            }
            Command::Remove(item) => {
                r.put_catalogue_item(item.as_str(), None)?;
                self.model.categorise(r, item.as_str(), None)
            }
            Command::Rules(rules) => {
                rules.validate()?;
                r.update_settings(|s| s.rules = rules.clone())
            }
            Command::Experiments(experiments) => {
                for experiment in experiments {
                    experiment.validate()?;
                }
                r.update_settings(|s| {
                    let old = std::mem::take(&mut s.experiments);
                    for new in experiments {
                        let zero = vec![Counts::default(); new.variants.len()];
                        let counts = old
                            .iter()
                            .find(|(e, _)| {
                                e.name == new.name && e.variants.len() == new.variants.len()
                            })
                            .map_or(zero, |(_, counts)| counts.clone());
                        s.experiments.push((new.clone(), counts));
                    }
                })
            }
            Command::Shown(shown) => self.shown(r, shown),
        }
    }

    /// Learns an event.
    ///
    /// # Errors
    /// Those of the records.
    pub fn observe<R: Records>(&mut self, r: &mut R, event: &UserEvent) -> Result<()> {
        let (user, item) = (event.user_id.as_str(), event.item_id.as_str());
        self.model.observe(
            r,
            Interaction {
                user,
                item,
                weight: event.event_type.strength(),
                positive: true,
                at_ms: event.timestamp_ms,
            },
        )?;
        if self
            .model
            .take_impression(r, user, item, event.timestamp_ms, ATTRIBUTION_MS)?
        {
            r.update_settings(|s| {
                for (experiment, counts) in &mut s.experiments {
                    if let Some(counts) = counts.get_mut(experiment.bucket(user)) {
                        counts.outcomes += 1;
                    }
                }
            })?;
        }
        Ok(())
    }

    fn shown<R: Records>(&mut self, r: &mut R, shown: &Shown) -> Result<()> {
        let user = shown.user_id.as_str();
        let ids: Vec<&str> = shown.items.iter().map(ItemId::as_str).collect();
        let noted = self.model.note_impressions(r, user, &ids, shown.at_ms)?;
        if noted > 0 {
            r.update_settings(|s| {
                for (experiment, counts) in &mut s.experiments {
                    if let Some(counts) = counts.get_mut(experiment.bucket(user)) {
                        counts.impressions += noted;
                    }
                }
            })?;
        }
        Ok(())
    }

    /// The best items, best first, ties by item id, each with its reason. A user nobody knows gets
    /// what is popular; an empty system gives an empty list.
    ///
    /// # Errors
    /// [`crate::Error::Invalid`] for a bad request; those of the records.
    pub fn recommend<R: Records>(
        &mut self,
        r: &mut R,
        request: &Request,
    ) -> Result<Vec<Recommendation>> {
        let chosen = self.choose(r, request, self.seed)?;
        let timestamp_ms = self.model.now_ms(r)?;
        let whys = self
            .model
            .whys(r, chosen.iter().map(|(ranked, _)| ranked))?;
        chosen
            .into_iter()
            .zip(whys)
            .map(|((ranked, explored), mut why)| {
                if explored {
                    why.source = Source::Exploration;
                }
                let reason = reason(r, &why)?;
                Ok(Recommendation {
                    user_id: request.user_id.clone(),
                    item_id: ItemId::new(ranked.id)?,
                    score: f64::from(ranked.score),
                    reason,
                    timestamp_ms,
                    source: why.source,
                    because: match why.because {
                        Some((id, _)) => Some(ItemId::new(id)?),
                        None => None,
                    },
                    contributions: why.contributions,
                })
            })
            .collect()
    }

    /// The rules in force.
    ///
    /// # Errors
    /// Those of the records.
    pub fn rules<R: Records>(&mut self, r: &mut R) -> Result<Rules> {
        Ok(r.settings()?.map(|s| s.rules.clone()).unwrap_or_default())
    }

    /// The experiments that run.
    ///
    /// # Errors
    /// Those of the records.
    pub fn experiments<R: Records>(&mut self, r: &mut R) -> Result<Vec<Experiment>> {
        let settings = r.settings()?;
        Ok(settings.map_or_else(Vec::new, |s| {
            s.experiments.iter().map(|(e, _)| e.clone()).collect()
        }))
    }

    /// A page of the users it knows: those in the next `places` places of their directory, and where
    /// the page after it begins, if there is one. Users keep their place; new ones come at the end or
    /// in the place of one that was forgotten.
    ///
    /// # Errors
    /// Those of the records.
    pub fn users<R: Records>(
        &mut self,
        r: &mut R,
        from: u32,
        places: u32,
    ) -> Result<(Vec<String>, Option<u32>)> {
        let end = r.global()?.map_or(0, |g| g.users.slots);
        let to = from.saturating_add(places.max(1)).min(end);
        let mut users = Vec::new();
        for slot in from..to {
            if let Some(user) = r.user(slot)?.filter(|user| !user.id.is_empty()) {
                users.push(user.id.to_string());
            }
        }
        Ok((users, (to < end).then_some(to)))
    }

    /// What the running experiments have counted so far.
    ///
    /// # Errors
    /// Those of the records.
    pub fn report<R: Records>(&mut self, r: &mut R) -> Result<Vec<VariantReport>> {
        let mut report = Vec::new();
        let Some(settings) = r.settings()? else {
            return Ok(report);
        };
        for (experiment, counts) in &settings.experiments {
            for (variant, counts) in experiment.variants.iter().zip(counts) {
                let (rate, interval) = counts.rate();
                report.push(VariantReport {
                    experiment: experiment.name.clone(),
                    variant: variant.name.clone(),
                    counts: *counts,
                    rate,
                    interval,
                });
            }
        }
        Ok(report)
    }
}

/// The reason in words, with the item's name where the catalogue has one.
fn reason<R: Records>(r: &mut R, why: &Why) -> Result<String> {
    Ok(match (why.source, &why.because) {
        (Source::ItemCf | Source::SessionKnn, Some((id, weight))) => {
            let name = match r.catalogue_item(id)? {
                Some(item) => item.display_name(),
                None => id,
            };
            format!("because you {} {name}", verb(*weight))
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
    })
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

/// An [`Engine`] together with its records.
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
    records: R,
    engine: Engine,
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

impl<R> Recommender<R> {
    /// The same recommender over the same records held in another way, and what held them before:
    /// for records that are borrowed for one call at a time, as keyed state is.
    pub fn replace_records<S>(self, records: S) -> (Recommender<S>, R) {
        let engine = self.engine;
        (Recommender { records, engine }, self.records)
    }
}

impl<R: Records> Recommender<R> {
    /// Over records, new or restored.
    ///
    /// # Errors
    /// As [`Engine::open`].
    pub fn open(mut records: R, options: Options) -> Result<Self> {
        let engine = Engine::open(&mut records, options)?;
        Ok(Self { records, engine })
    }

    /// The engine, and the records it works on.
    pub fn parts(&mut self) -> (&mut Engine, &mut R) {
        (&mut self.engine, &mut self.records)
    }

    /// Takes in a command.
    ///
    /// # Errors
    /// As [`Engine::apply`].
    pub fn apply(&mut self, command: &Command) -> Result<()> {
        self.engine.apply(&mut self.records, command)
    }

    /// Takes in what is known of an item; it counts from the next recommendation on.
    ///
    /// # Errors
    /// [`crate::Error::Invalid`], naming the field.
    pub fn upsert_item(&mut self, item: CatalogueItem) -> Result<()> {
        self.apply(&Command::Upsert(item))
    }

    /// Learns an event.
    ///
    /// # Errors
    /// Those of the records.
    pub fn observe(&mut self, event: &UserEvent) -> Result<()> {
        self.engine.observe(&mut self.records, event)
    }

    /// The best items for a user; see [`Engine::recommend`].
    ///
    /// # Errors
    /// As [`Engine::recommend`].
    pub fn recommend(&mut self, user: &UserId, k: usize) -> Result<Vec<Recommendation>> {
        self.request(&Request::new(user.clone(), k))
    }

    /// The best items for a request; see [`Engine::recommend`].
    ///
    /// # Errors
    /// As [`Engine::recommend`].
    pub fn request(&mut self, request: &Request) -> Result<Vec<Recommendation>> {
        self.engine.recommend(&mut self.records, request)
    }
}

/// A ranked item, and whether it is there to be learnt about.
pub(crate) type Chosen = (Ranked, bool);
