//! The nine fields of an item: their names, their order, and what they hold.

use std::fmt;

use serde::{Deserialize, Serialize};

/// A field of an item, in the order in which items show them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Field {
    /// `story_id`
    StoryId,
    /// `stage`
    Stage,
    /// `name`
    Name,
    /// `agent`
    Agent,
    /// `retry_count`
    RetryCount,
    /// `blocked`
    Blocked,
    /// `depends_on`
    DependsOn,
    /// `claimed_by`
    ClaimedBy,
    /// `claimed_at`
    ClaimedAt,
}

impl Field {
    /// All fields, in the order in which items show them.
    pub const ALL: [Self; 9] = [
        Self::StoryId,
        Self::Stage,
        Self::Name,
        Self::Agent,
        Self::RetryCount,
        Self::Blocked,
        Self::DependsOn,
        Self::ClaimedBy,
        Self::ClaimedAt,
    ];

    /// Returns the field's name.
    pub fn name(self) -> &'static str {
        match self {
            Self::StoryId => "story_id",
            Self::Stage => "stage",
            Self::Name => "name",
            Self::Agent => "agent",
            Self::RetryCount => "retry_count",
            Self::Blocked => "blocked",
            Self::DependsOn => "depends_on",
            Self::ClaimedBy => "claimed_by",
            Self::ClaimedAt => "claimed_at",
        }
    }

    /// Returns the field of that name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|field| field.name() == name)
    }

    /// Returns what the field holds, in words: "a string", "a number", "true or false".
    pub fn expects(self) -> &'static str {
        match self {
            Self::StoryId | Self::Stage | Self::Name | Self::Agent | Self::DependsOn | Self::ClaimedBy => {
                "a string"
            }
            Self::RetryCount | Self::ClaimedAt => "a number",
            Self::Blocked => "true or false",
        }
    }
}

impl fmt::Display for Field {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
