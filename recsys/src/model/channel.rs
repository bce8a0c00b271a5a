use std::fmt;
use std::str::FromStr;

use crate::error::{Error, Result};
use crate::recommendation::Source;

/// One ranked list of candidates that the fusion weighs against the others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Channel {
    /// Item-based CF, what is touched right before and after the latest items.
    CfNear,
    /// Item-based CF, what the same users touch.
    CfFar,
    /// Session kNN with V-STAN's weights.
    SessionKnn,
    /// User kNN.
    UserKnn,
    /// Popularity with a half-life of 1 h.
    PopularHour,
    /// Of 6 h.
    PopularSixHours,
    /// Of a day.
    PopularDay,
    /// Of a week.
    PopularWeek,
    /// Of 30 days.
    PopularMonth,
    /// Since the beginning.
    PopularEver,
    /// What was touched last.
    Recent,
    /// What was first seen last.
    New,
    /// The user's own items.
    Again,
    /// What is popular in the categories of the user's items.
    Category,
    /// What had more events in the last hour than the day before lets one expect.
    Trending,
}

/// All channels, in the order of their features.
pub const CHANNELS: [Channel; 15] = [
    Channel::CfNear,
    Channel::CfFar,
    Channel::SessionKnn,
    Channel::UserKnn,
    Channel::PopularHour,
    Channel::PopularSixHours,
    Channel::PopularDay,
    Channel::PopularWeek,
    Channel::PopularMonth,
    Channel::PopularEver,
    Channel::Recent,
    Channel::New,
    Channel::Again,
    Channel::Category,
    Channel::Trending,
];

impl Channel {
    pub(crate) const fn index(self) -> usize {
        self as usize
    }

    /// Which board it is read from.
    pub(crate) fn board(self) -> Option<usize> {
        let first = Self::PopularHour.index();
        let last = Self::New.index();
        (first..=last)
            .contains(&self.index())
            .then(|| self.index() - first)
    }

    /// What people are told.
    pub const fn source(self) -> Source {
        match self {
            Self::CfNear | Self::CfFar => Source::ItemCf,
            Self::SessionKnn => Source::SessionKnn,
            Self::UserKnn => Source::UserKnn,
            Self::PopularHour | Self::PopularSixHours | Self::Trending => Source::Trending,
            Self::PopularDay | Self::PopularWeek | Self::PopularMonth | Self::PopularEver => {
                Source::Popular
            }
            Self::Recent | Self::New => Source::Recent,
            Self::Again => Source::Again,
            Self::Category => Source::Category,
        }
    }

    /// The name on the command line.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::CfNear => "cf-near",
            Self::CfFar => "cf-far",
            Self::SessionKnn => "session-knn",
            Self::UserKnn => "user-knn",
            Self::PopularHour => "popular-1h",
            Self::PopularSixHours => "popular-6h",
            Self::PopularDay => "popular-1d",
            Self::PopularWeek => "popular-7d",
            Self::PopularMonth => "popular-30d",
            Self::PopularEver => "popular",
            Self::Recent => "recent",
            Self::New => "new",
            Self::Again => "again",
            Self::Category => "category",
            Self::Trending => "trending",
        }
    }
}

impl fmt::Display for Channel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Channel {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self> {
        CHANNELS
            .into_iter()
            .find(|c| c.as_str() == name)
            .ok_or_else(|| {
                let names: Vec<_> = CHANNELS.iter().map(|c| c.as_str()).collect();
                Error::invalid(
                    "model",
                    format!("{name:?} is none of auto, tutorial, {}", names.join(", ")),
                )
            })
    }
}
