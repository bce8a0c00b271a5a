use std::fmt;
use std::str::FromStr;

use crate::error::{Error, Result};
use crate::model::channel::Channel;

/// What puts the items in order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Ranking {
    /// The learned fusion of all channels: model `auto`.
    #[default]
    Fusion,
    /// The tutorial's rules: model `tutorial`.
    Tutorial,
    /// One channel alone, by its name.
    Only(Channel),
}

impl FromStr for Ranking {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self> {
        match name {
            "auto" => Ok(Self::Fusion),
            "tutorial" => Ok(Self::Tutorial),
            channel => channel.parse().map(Self::Only),
        }
    }
}

impl fmt::Display for Ranking {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Fusion => "auto",
            Self::Tutorial => "tutorial",
            Self::Only(channel) => channel.as_str(),
        })
    }
}
