use serde::{Deserialize, Serialize};

use crate::error::Result;
use crate::ids::{ItemId, UserId};
use crate::model::{Records, Standing};
use crate::recommendation::{Contribution, Source};
use crate::serve::recommender::Engine;
use crate::serve::request::Request;
use crate::serve::rules::Verdict;
use crate::serve::select::judge;

/// Why an item is, or is not, recommended to a user.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Explanation {
    /// The user.
    pub user_id: UserId,
    /// The item.
    pub item_id: ItemId,
    /// What became of it.
    pub outcome: Outcome,
    /// Its score, where it was a candidate.
    pub score: Option<f32>,
    /// What each source contributed to it, largest first.
    pub contributions: Vec<Contribution>,
    /// The source that names it first.
    pub source: Option<Source>,
    /// The item of the history that it follows from most.
    pub because: Option<ItemId>,
}

/// What became of an item in a list of `k`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Outcome {
    /// It is in the list.
    Recommended {
        /// From 1.
        rank: usize,
    },
    /// Nobody has touched it yet, so far as the model remembers.
    Unknown,
    /// The user has had it, and the rules leave such items out.
    Seen,
    /// The rules keep it back.
    Filtered(Verdict),
    /// No source named it for this user.
    NoCandidate,
    /// Others are better, or diversity and caps prefer others.
    Outranked {
        /// Its rank by score alone, from 1.
        rank: usize,
        /// The score of the last item that made it into the list.
        needed: f32,
    },
}

impl Engine {
    /// Explains one item for the list that `request` would get.
    ///
    /// # Errors
    /// As [`Engine::recommend`].
    pub fn explain<R: Records>(
        &mut self,
        r: &mut R,
        request: &Request,
        item: &ItemId,
    ) -> Result<Explanation> {
        let list = self.choose(r, request, 0)?;
        let terms = self.terms(r, request)?;
        let verdict = judge(r, request, &terms.rules, item.as_str())?;
        let user = request.user_id.as_str();
        let standing = self.model.standing(r, user, item.as_str(), terms.ask())?;
        let mut explanation = Explanation {
            user_id: request.user_id.clone(),
            item_id: item.clone(),
            outcome: Outcome::Unknown,
            score: None,
            contributions: Vec::new(),
            source: None,
            because: None,
        };
        if let Standing::Ranked { item: ranked, .. } = &standing {
            let why = self.model.why(r, ranked)?;
            explanation.score = Some(ranked.score);
            explanation.contributions = why.contributions;
            explanation.source = Some(why.source);
            explanation.because = match why.because {
                Some((id, _)) => Some(ItemId::new(id)?),
                None => None,
            };
        }
        let place = list.iter().position(|(l, _)| l.id == item.as_str());
        explanation.outcome = match (place, verdict, standing) {
            (Some(at), _, _) => Outcome::Recommended { rank: at + 1 },
            (None, _, Standing::Unknown) => Outcome::Unknown,
            (None, Err(verdict), _) => Outcome::Filtered(verdict),
            (None, Ok(()), Standing::Seen) => Outcome::Seen,
            (None, Ok(()), Standing::NoCandidate) => Outcome::NoCandidate,
            (None, Ok(()), Standing::Ranked { rank, .. }) => Outcome::Outranked {
                rank,
                needed: list.last().map_or(0.0, |(l, _)| l.score),
            },
        };
        Ok(explanation)
    }
}
