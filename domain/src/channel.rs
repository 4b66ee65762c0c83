//! The channels of withdrawals.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Where money was withdrawn.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(
    inline,
    description = "Where the money was withdrawn: at a `branch`, at an `atm`, or `online`."
)]
pub enum Channel {
    /// At a branch.
    Branch,
    /// At an automated teller machine.
    Atm,
    /// Online, which is also the channel of a command that names none.
    #[default]
    Online,
}

/// The channel in a row of the events table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum StoredChannel {
    /// At a branch.
    Branch,
    /// At an automated teller machine.
    Atm,
    /// Online.
    Online,
    /// Schema version 1 of the rows has no channel. Only the upcaster sets this value: no command leads to it.
    Unrecorded,
}

impl StoredChannel {
    /// The channel; `None` if it wasn't recorded.
    #[must_use]
    pub const fn recorded(self) -> Option<Channel> {
        match self {
            Self::Branch => Some(Channel::Branch),
            Self::Atm => Some(Channel::Atm),
            Self::Online => Some(Channel::Online),
            Self::Unrecorded => None,
        }
    }
}

impl From<Channel> for StoredChannel {
    fn from(channel: Channel) -> Self {
        match channel {
            Channel::Branch => Self::Branch,
            Channel::Atm => Self::Atm,
            Channel::Online => Self::Online,
        }
    }
}
