//! The only place where messages of the wire meet the types of the domain, and where what comes in is
//! checked.

mod steering;

pub(crate) use steering::{
    experiment_to_proto, experiments_to_domain, rules_from_proto, rules_to_domain, rules_to_proto,
};

use crate::{
    error::Result,
    proto::v1::{self, CatalogItem, FieldViolation},
};
use recsys::{
    Catalogue, CatalogueItem, Command, EventType, Explanation, ItemId, Outcome, Recommendation,
    SessionId, Shown, UserEvent, UserId, VariantReport,
};
use serde_json::{Map, Value};

/// What an event may be at most.
#[derive(Debug, Clone)]
pub(crate) struct EventLimits {
    /// Bytes of all keys and values of the metadata.
    pub(crate) metadata_bytes: usize,
    /// How far ahead of the clock an event may be, in milliseconds: one from the year 2300 would make
    /// every later event late.
    pub(crate) future_ms: i64,
}

/// All that is wrong with an event; nothing when it can be taken.
pub(crate) fn violations(
    event: &v1::UserEvent,
    limits: &EventLimits,
    now_ms: i64,
) -> Vec<FieldViolation> {
    let mut found = Vec::new();
    let mut wrong = |field: &str, description: String| {
        found.push(FieldViolation {
            field: field.to_owned(),
            description,
        });
    };
    for (field, id) in [("user_id", &event.user_id), ("item_id", &event.item_id)] {
        if let Some(problem) = id_problem(id) {
            wrong(field, problem);
        }
    }
    if !event.session_id.is_empty()
        && let Some(problem) = id_problem(&event.session_id)
    {
        wrong("session_id", problem);
    }
    match v1::EventType::try_from(event.event_type) {
        Ok(v1::EventType::Unspecified) => {
            wrong(
                "event_type",
                "missing: one of VIEW, CLICK, LIKE, PURCHASE".to_owned(),
            );
        }
        Ok(_) => {}
        Err(_) => wrong(
            "event_type",
            format!("{} is no known type", event.event_type),
        ),
    }
    let latest = now_ms.saturating_add(limits.future_ms);
    if event.timestamp_ms <= 0 {
        wrong(
            "timestamp_ms",
            format!("{} is missing or before 1970", event.timestamp_ms),
        );
    } else if event.timestamp_ms > latest {
        wrong(
            "timestamp_ms",
            format!(
                "{} lies more than {} s in the future (milliseconds since 1970 are expected)",
                event.timestamp_ms,
                limits.future_ms / 1000
            ),
        );
    }
    let bytes: usize = event.metadata.iter().map(|(k, v)| k.len() + v.len()).sum();
    if bytes > limits.metadata_bytes {
        wrong(
            "metadata",
            format!(
                "{bytes} bytes, at most {} are allowed",
                limits.metadata_bytes
            ),
        );
    }
    found
}

/// The rules of the domain's ids; a test holds the two together.
fn id_problem(id: &str) -> Option<String> {
    if id.is_empty() {
        return Some("missing".to_owned());
    }
    if id.len() > recsys::MAX_ID_BYTES {
        return Some(format!(
            "{} bytes long, at most {} are allowed",
            id.len(),
            recsys::MAX_ID_BYTES
        ));
    }
    id.chars()
        .any(char::is_control)
        .then(|| "must not contain control characters".to_owned())
}

/// An event of the log, which was checked when it was taken.
///
/// # Errors
/// The domain does not accept it.
pub(crate) fn event_to_domain(event: v1::UserEvent) -> Result<UserEvent> {
    Ok(UserEvent {
        user_id: UserId::new(event.user_id)?,
        item_id: ItemId::new(event.item_id)?,
        event_type: event_type_to_domain(event.event_type),
        timestamp_ms: event.timestamp_ms,
        session_id: match event.session_id {
            none if none.is_empty() => None,
            id => Some(SessionId::new(id)?),
        },
        metadata: event
            .metadata
            .into_iter()
            .map(|(key, value)| (key, Value::String(value)))
            .collect(),
    })
}

fn event_type_to_domain(event_type: i32) -> EventType {
    match v1::EventType::try_from(event_type) {
        Ok(v1::EventType::Purchase) => EventType::Purchase,
        Ok(v1::EventType::Like) => EventType::Like,
        Ok(v1::EventType::Click) => EventType::Click,
        // The log holds checked events only: anything else cannot be there.
        Ok(v1::EventType::View | v1::EventType::Unspecified) | Err(_) => EventType::View,
    }
}

/// The type on the wire.
pub(crate) fn event_type_to_proto(event_type: EventType) -> v1::EventType {
    match event_type {
        EventType::View => v1::EventType::View,
        EventType::Click => v1::EventType::Click,
        EventType::Like => v1::EventType::Like,
        EventType::Purchase => v1::EventType::Purchase,
    }
}

/// An event in the tutorial's JSON, as it goes over the wire. Values of the metadata that are no
/// strings become their JSON.
pub(crate) fn event_from_json(json: &str) -> Result<v1::UserEvent, String> {
    let event = UserEvent::from_json(json).map_err(|error| crate::error::chain(&error))?;
    Ok(v1::UserEvent {
        user_id: event.user_id.into(),
        item_id: event.item_id.into(),
        event_type: event_type_to_proto(event.event_type).into(),
        timestamp_ms: event.timestamp_ms,
        session_id: event.session_id.map(Into::into).unwrap_or_default(),
        metadata: metadata_to_proto(event.metadata),
    })
}

fn metadata_to_proto(metadata: Map<String, Value>) -> std::collections::BTreeMap<String, String> {
    metadata
        .into_iter()
        .map(|(key, value)| match value {
            Value::String(text) => (key, text),
            other => (key, other.to_string()),
        })
        .collect()
}

/// All that is wrong with an item; nothing when it can be taken.
pub(crate) fn item_violations(item: &CatalogItem) -> Vec<FieldViolation> {
    match item_to_domain(item.clone()) {
        Ok(_) => Vec::new(),
        Err(crate::Error::Recsys(recsys::Error::Invalid { field, problem })) => {
            vec![FieldViolation {
                field: field.to_owned(),
                description: problem,
            }]
        }
        Err(error) => vec![FieldViolation {
            field: "item".to_owned(),
            description: error.to_string(),
        }],
    }
}

/// An item as the recommender keeps it.
///
/// # Errors
/// An id or a text that is too long or missing.
pub(crate) fn item_to_domain(item: CatalogItem) -> Result<CatalogueItem> {
    let mut domain = CatalogueItem::new(ItemId::new(item.item_id)?, item.category, item.name);
    domain.attributes = item.attributes;
    domain.validate()?;
    Ok(domain)
}

/// Impressions, checked.
///
/// # Errors
/// An id that is missing or too long.
pub(crate) fn impressions_to_domain(shown: v1::RecordImpressionsRequest) -> Result<Command> {
    let items = shown.item_ids.into_iter().map(ItemId::new);
    Ok(Command::Shown(Shown {
        user_id: UserId::new(shown.user_id)?,
        items: items.collect::<Result<_, _>>()?,
        at_ms: shown.timestamp_ms,
    }))
}

/// An explanation on the wire.
pub(crate) fn explanation_to_proto(explanation: &Explanation) -> v1::ExplainResponse {
    let mut response = v1::ExplainResponse {
        score: explanation.score.map(f64::from),
        contributions: explanation
            .contributions
            .iter()
            .map(|part| v1::Contribution {
                source: part.source.as_str().to_owned(),
                score: f64::from(part.score),
            })
            .collect(),
        source: explanation
            .source
            .map_or_else(String::new, |source| source.as_str().to_owned()),
        because_item_id: match &explanation.because {
            Some(item) => item.as_str().to_owned(),
            None => String::new(),
        },
        ..v1::ExplainResponse::default()
    };
    let rank = |rank: usize| u32::try_from(rank).unwrap_or(u32::MAX);
    let outcome = match &explanation.outcome {
        Outcome::Recommended { rank: at } => {
            response.rank = rank(*at);
            v1::Outcome::Recommended
        }
        Outcome::Unknown => v1::Outcome::UnknownItem,
        Outcome::Seen => v1::Outcome::Seen,
        Outcome::Filtered(verdict) => {
            response.filtered_by = verdict.to_string();
            v1::Outcome::Filtered
        }
        Outcome::NoCandidate => v1::Outcome::NoCandidate,
        Outcome::Outranked { rank: at, needed } => {
            response.rank = rank(*at);
            response.needed_score = f64::from(*needed);
            v1::Outcome::Outranked
        }
        _ => v1::Outcome::Unspecified,
    };
    response.outcome = outcome.into();
    response
}

/// What an experiment counted, on the wire.
pub(crate) fn report_to_proto(report: &VariantReport) -> v1::VariantReport {
    v1::VariantReport {
        experiment: report.experiment.clone(),
        variant: report.variant.clone(),
        impressions: report.counts.impressions,
        outcomes: report.counts.outcomes,
        rate: report.rate,
        rate_low: report.interval.0,
        rate_high: report.interval.1,
    }
}

/// An item on the wire.
pub(crate) fn item_to_proto(item: &CatalogueItem) -> CatalogItem {
    CatalogItem {
        item_id: item.item_id.as_str().to_owned(),
        name: item.name.clone(),
        category: item.category.clone(),
        attributes: item.attributes.clone(),
    }
}

/// An item of a list, with what the catalogue says of it.
pub(crate) fn recommendation_to_proto(
    recommendation: &Recommendation,
    rank: u32,
    catalogue: &Catalogue,
) -> v1::Recommendation {
    let id = recommendation.item_id.as_str();
    let known = catalogue.get(id);
    v1::Recommendation {
        user_id: recommendation.user_id.as_str().to_owned(),
        item_id: id.to_owned(),
        score: recommendation.score,
        reason: recommendation.reason.clone(),
        timestamp_ms: recommendation.timestamp_ms,
        item_name: known.map(|item| item.name.clone()).unwrap_or_default(),
        category: known.map(|item| item.category.clone()).unwrap_or_default(),
        rank,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: EventLimits = EventLimits {
        metadata_bytes: 100,
        future_ms: 60_000,
    };
    const NOW: i64 = 1_700_000_000_000;

    fn good() -> v1::UserEvent {
        v1::UserEvent {
            user_id: "u".into(),
            item_id: "i".into(),
            event_type: v1::EventType::Click.into(),
            timestamp_ms: NOW,
            ..v1::UserEvent::default()
        }
    }

    fn fields(change: impl FnOnce(&mut v1::UserEvent)) -> Vec<String> {
        let mut event = good();
        change(&mut event);
        let found = violations(&event, &LIMITS, NOW);
        if found.is_empty() {
            event_to_domain(event).unwrap().validate().unwrap();
        }
        found.into_iter().map(|v| v.field).collect()
    }

    #[test]
    fn each_bad_field_is_named() {
        assert!(fields(|_| {}).is_empty());
        assert_eq!(fields(|e| e.user_id.clear()), ["user_id"]);
        assert_eq!(fields(|e| e.item_id = "x".repeat(257)), ["item_id"]);
        assert_eq!(fields(|e| e.session_id = "a\nb".into()), ["session_id"]);
        assert_eq!(fields(|e| e.event_type = 0), ["event_type"]);
        assert_eq!(fields(|e| e.event_type = 99), ["event_type"]);
        for nonsense in [i64::MIN, -1, 0, NOW + 60_001, i64::MAX] {
            assert_eq!(
                fields(|e| e.timestamp_ms = nonsense),
                ["timestamp_ms"],
                "{nonsense}"
            );
        }
        let big = |e: &mut v1::UserEvent| {
            e.metadata.insert("k".into(), "x".repeat(100));
        };
        assert_eq!(fields(big), ["metadata"]);
        let empty = violations(&v1::UserEvent::default(), &LIMITS, NOW);
        assert_eq!(empty.len(), 4);
    }

    #[test]
    fn ids_are_those_of_the_domain() {
        for id in [
            "",
            "a",
            "\u{7f}",
            "a b",
            "ü",
            "\t",
            &"x".repeat(256),
            &"x".repeat(257),
        ] {
            assert_eq!(id_problem(id).is_none(), UserId::new(id).is_ok(), "{id:?}");
        }
    }
}
