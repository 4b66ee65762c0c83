//! The domain's settings that published bytes depend on, kept in the events table: a deployment whose
//! settings differ from those that its events were written with doesn't start.

use crate::attribute::{Attribute, Attributes};
use crate::domain::Domain;
use crate::row::{ID, TYPE, VERSION};

/// The id of the item of the events table that contains the settings; a reserved one
/// ([`is_reserved_id`](crate::ids::is_reserved_id)).
pub const ROW_ID: &str = "\u{1}millrace";
/// That item's version. No event has version 0.
pub const ROW_VERSION: u64 = 0;
const ROW_TYPE: &str = "SETTINGS";

/// A setting that must not change once events are published.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Setting {
    /// What an operator sets: the environment variable, such as `TIME_ZONE`.
    pub variable: &'static str,
    /// The attribute of the settings' item, such as `TimeZone`.
    pub column: &'static str,
    /// What it is set to.
    pub value: String,
}

/// A setting differs from the one that is stored in the events table.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{variable} is {configured}, but the events table has been used with {stored}: another \
     value would change events that are published; set {variable} to {stored} again"
)]
pub struct SettingChanged {
    /// The environment variable.
    pub variable: &'static str,
    /// What it is set to now.
    pub configured: String,
    /// What the events table contains.
    pub stored: String,
}

/// The item of the events table that contains the settings.
#[must_use]
pub fn to_row<D: Domain>(domain: &D) -> Attributes {
    let own = domain.settings();
    let own = own
        .into_iter()
        .map(|setting| (setting.column.to_owned(), Attribute::Text(setting.value)));
    let keys = [
        (ID, Attribute::text(ROW_ID)),
        (VERSION, Attribute::number(ROW_VERSION)),
        (TYPE, Attribute::text(ROW_TYPE)),
    ]
    .map(|(name, value)| (name.to_owned(), value));
    own.chain(keys).collect()
}

/// Compares the settings with the item that [`to_row`] has made.
///
/// # Errors
/// [`SettingChanged`] for the first setting that differs, which says what to do.
pub fn check<D: Domain>(domain: &D, stored: &Attributes) -> Result<(), SettingChanged> {
    for setting in domain.settings() {
        let stored = match stored.get(setting.column) {
            Some(Attribute::Text(stored)) if *stored == setting.value => continue,
            Some(Attribute::Text(stored)) => stored.clone(),
            Some(_) | None => "an unreadable value".to_owned(),
        };
        return Err(SettingChanged {
            variable: setting.variable,
            configured: setting.value,
            stored,
        });
    }
    Ok(())
}
