//! The account's HTTP surface: which paths there are, how a command's body reads, and what an
//! accepted command answers with. What HTTP itself asks for (headers, statuses, problem bodies) is
//! the functions' business.

use std::borrow::Cow;

use percent_encoding::percent_decode_str;
use serde::{Deserialize, Serialize};

use crate::account::{Command, Refusal, State};
use crate::history::History;
use crate::ids::AggregateId;
use crate::json::Object;
use crate::layout::Sequence;
use crate::money::{Amount, Balance, Currency};
use crate::settings::Settings;

/// The first segment of every path.
pub const COLLECTION: &str = "accounts";

/// What a path names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Resource {
    /// `/accounts`: takes the command that begins an account.
    Collection,
    /// `/accounts/{id}`: shows the view.
    Item(AggregateId),
    /// `/accounts/{id}/credit` and the like: takes a command.
    Command(AggregateId, CommandName),
    /// `/accounts/{id}/transactions`: shows the history.
    History(AggregateId),
    /// `/accounts/{id}/balance`: shows the balance at a time.
    ValueAt(AggregateId),
}

/// The commands that an account takes once it is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CommandName {
    /// `credit`.
    Credit,
    /// `withdraw`.
    Withdraw,
}

/// A path that names no resource.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PathError {
    /// There is nothing at this path.
    #[error("there is nothing at this path")]
    Unknown,
    /// It contains an id that a path can't name.
    #[error("the path contains an id that no path can name: it is . or .., or contains / or ?")]
    NotAddressable,
}

/// A command's body that can't be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{detail}")]
pub struct BodyError {
    /// A JSON pointer (RFC 6901) to what is wrong; empty for the whole body.
    pub pointer: &'static str,
    /// What is wrong with it.
    pub detail: String,
}

/// Why a query has no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Unanswered {
    /// Nothing has this id.
    #[error("{}", Refusal::NotOpen)]
    Unknown,
    /// At the time asked for there was nothing yet.
    #[error("the account was not open yet at this time")]
    NotYet,
}

/// What an accepted command answers with.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Accepted {
    account_id: AggregateId,
    sequence: Sequence,
    balance: Balance,
}

impl Resource {
    /// What a request path names.
    ///
    /// API Gateway's HTTP API decodes a path before a function sees it (all escapes but `%25`), and
    /// truncates it at a decoded `?`. So an id that contains a separator would name another resource,
    /// and the path no longer shows it. An encoded separator that does arrive, from another front end,
    /// is refused too. Segments are split first and then decoded.
    ///
    /// # Errors
    /// [`PathError`].
    pub fn parse(path: &str) -> Result<Self, PathError> {
        let resource = Self::split(path).ok_or(PathError::Unknown)?;
        match resource.id() {
            Some(id) if !is_addressable(id) => Err(PathError::NotAddressable),
            _ => Ok(resource),
        }
    }

    fn id(&self) -> Option<&AggregateId> {
        match self {
            Self::Collection => None,
            Self::Item(id) | Self::Command(id, _) | Self::History(id) | Self::ValueAt(id) => {
                Some(id)
            }
        }
    }

    fn split(path: &str) -> Option<Self> {
        let segments: Vec<&str> = path.strip_prefix('/')?.split('/').collect();
        let (collection, rest) = segments.split_first()?;
        if *collection != COLLECTION {
            return None;
        }
        let (id, rest) = match rest {
            [] => return Some(Self::Collection),
            [id, rest @ ..] => (percent_decode_str(id).decode_utf8().ok()?, rest),
        };
        let id = AggregateId::new(id).ok()?;
        match rest {
            [] => Some(Self::Item(id)),
            ["credit"] => Some(Self::Command(id, CommandName::Credit)),
            ["withdraw"] => Some(Self::Command(id, CommandName::Withdraw)),
            ["transactions"] => Some(Self::History(id)),
            ["balance"] => Some(Self::ValueAt(id)),
            _ => None,
        }
    }

    /// The one method that it takes.
    #[must_use]
    pub const fn method(&self) -> &'static str {
        match self {
            Self::Collection | Self::Command(..) => "POST",
            Self::Item(_) | Self::History(_) | Self::ValueAt(_) => "GET",
        }
    }
}

/// Whether a path can name this id: it contains no separator, and isn't what a client or a proxy
/// takes away from a path (RFC 3986, section 5.2.4).
fn is_addressable(id: &AggregateId) -> bool {
    !id.as_str().contains(['/', '?']) && !matches!(id.as_str(), "." | "..")
}

/// The path of an account, for `Location`; `None` where no path can name its id. Such an id comes
/// from an older producer only.
#[must_use]
pub fn path_of(id: &AggregateId) -> Option<String> {
    if !is_addressable(id) {
        return None;
    }
    let id: Cow<'_, str> =
        percent_encoding::utf8_percent_encode(id.as_str(), percent_encoding::NON_ALPHANUMERIC)
            .into();
    // `-`, `.`, `_` and `~` are unreserved (RFC 3986, section 2.3) and read better as they are.
    let id = id
        .replace("%2D", "-")
        .replace("%2E", ".")
        .replace("%5F", "_")
        .replace("%7E", "~");
    Some(format!("/{COLLECTION}/{id}"))
}

impl Unanswered {
    /// Its name in the public API, which never changes: the problem type's last part. What isn't
    /// there has one name to queries and commands.
    #[must_use]
    pub const fn code(self) -> &'static str {
        match self {
            Self::Unknown => Refusal::NotOpen.code(),
            Self::NotYet => "account-not-open-yet",
        }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Opening {
    currency: Option<serde_json::Value>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Movement {
    amount: serde_json::Value,
}

impl Command {
    /// Reads the body of the command that begins an account. An empty body asks for the defaults.
    ///
    /// # Errors
    /// [`BodyError`], which points at what is wrong.
    pub fn beginning(body: &[u8], settings: &Settings) -> Result<Self, BodyError> {
        let opening: Opening = if body.is_empty() {
            Opening { currency: None }
        } else {
            read(body)?
        };
        let currency = match opening.currency {
            None => settings.default_currency,
            Some(value) => value
                .as_str()
                .and_then(|code| Currency::listed(code).ok())
                .ok_or_else(|| BodyError {
                    pointer: "/currency",
                    detail: format!("currency {}", crate::money::InvalidCurrency),
                })?,
        };
        Ok(Self::Open { currency })
    }

    /// Reads the body of a command to an account that is there.
    ///
    /// # Errors
    /// [`BodyError`], which points at what is wrong.
    pub fn named(name: CommandName, body: &[u8]) -> Result<Self, BodyError> {
        let movement: Movement = read(body)?;
        let amount = movement
            .amount
            .as_i64()
            .and_then(|minor_units| Amount::new(minor_units).ok())
            .ok_or_else(|| BodyError {
                pointer: "/amount",
                detail: format!("amount {}", crate::money::InvalidAmount),
            })?;
        Ok(match name {
            CommandName::Credit => Self::Credit { amount },
            CommandName::Withdraw => Self::Withdraw { amount },
        })
    }
}

/// Serde's own text names an unknown, missing or repeated field and its place. It may quote the
/// client's own value, so it belongs in the answer and never in a log.
fn read<'a, T: Deserialize<'a>>(body: &'a [u8]) -> Result<T, BodyError> {
    let read = serde_json::from_slice(body).map(|Object(command)| command);
    read.map_err(|error| BodyError {
        pointer: "",
        detail: match error.classify() {
            serde_json::error::Category::Data => format!("the body is not as expected: {error}"),
            _ => format!("the body is not JSON: {error}"),
        },
    })
}

impl Accepted {
    /// The answer to a command that led to this history.
    #[must_use]
    pub fn of(history: &History) -> Self {
        let balance = match history.state() {
            State::Unopened => Balance::ZERO,
            State::Open { balance, .. } => *balance,
        };
        Self {
            account_id: history.id().clone(),
            sequence: history.sequence(),
            balance,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings() -> Settings {
        Settings {
            default_currency: Currency::stored("EUR").expect("valid"),
        }
    }

    fn id(id: &str) -> AggregateId {
        AggregateId::new(id).expect("valid")
    }

    #[test]
    fn a_path_names_one_resource_and_a_resource_takes_one_method() {
        for (path, resource, method) in [
            ("/accounts", Resource::Collection, "POST"),
            ("/accounts/a", Resource::Item(id("a")), "GET"),
            ("/accounts/a%20b", Resource::Item(id("a b")), "GET"),
            ("/accounts/a b", Resource::Item(id("a b")), "GET"),
            ("/accounts/a%2541", Resource::Item(id("a%41")), "GET"),
            (
                "/accounts/a/credit",
                Resource::Command(id("a"), CommandName::Credit),
                "POST",
            ),
            (
                "/accounts/a/withdraw",
                Resource::Command(id("a"), CommandName::Withdraw),
                "POST",
            ),
            (
                "/accounts/a/transactions",
                Resource::History(id("a")),
                "GET",
            ),
            ("/accounts/a/balance", Resource::ValueAt(id("a")), "GET"),
        ] {
            assert_eq!(Resource::parse(path).as_ref(), Ok(&resource), "{path}");
            assert_eq!(resource.method(), method, "{path}");
        }
    }

    #[test]
    fn other_paths_name_nothing() {
        for path in [
            "",
            "/",
            "accounts",
            "/accounts/",
            "/accounts/a/",
            "/accounts/a/close",
            "/orders/a",
            "/accounts/%ff",
            "/accounts/a/credit/b",
            "/accounts//credit",
            "//accounts/a",
        ] {
            assert_eq!(Resource::parse(path), Err(PathError::Unknown), "{path}");
        }
    }

    #[test]
    fn an_id_that_no_path_can_name_is_refused() {
        for path in [
            "/accounts/x%2Ftransactions",
            "/accounts/x%2fcredit/credit",
            "/accounts/x%3Fy",
            "/accounts/x?y",
            "/accounts/%2E%2E/credit",
            "/accounts/..",
            "/accounts/.",
            "/accounts/%2e/balance",
        ] {
            assert_eq!(
                Resource::parse(path),
                Err(PathError::NotAddressable),
                "{path}"
            );
        }
        for text in ["a/b", "a?b", ".", ".."] {
            assert_eq!(path_of(&id(text)), None, "{text}");
        }
    }

    #[test]
    fn a_path_of_an_id_leads_back_to_it() {
        for text in [
            "a-b_c.d~e",
            "a%2Fb",
            "...",
            "a#b",
            "ä b%",
            "01890a5d-ac96-774b-bcce-b302099a8057",
        ] {
            assert_eq!(
                path_of(&id(text)).map(|path| Resource::parse(&path)),
                Some(Ok(Resource::Item(id(text))))
            );
        }
    }

    #[test]
    fn a_body_that_is_not_json_is_told_from_one_that_is_not_as_expected() {
        for (body, told) in [
            ("{", "the body is not JSON: "),
            ("", "the body is not JSON: "),
            (
                r#"{"amount":1,"currency":"EUR"}"#,
                "the body is not as expected: unknown field `currency`",
            ),
            ("{}", "the body is not as expected: missing field `amount`"),
        ] {
            let error = Command::named(CommandName::Credit, body.as_bytes()).expect_err(body);
            assert!(error.detail.starts_with(told), "{body}: {}", error.detail);
        }
    }

    #[test]
    fn what_is_not_there_has_one_name_to_queries_and_commands() {
        assert_eq!(Unanswered::Unknown.code(), Refusal::NotOpen.code());
        assert_eq!(
            Unanswered::Unknown.to_string(),
            Refusal::NotOpen.to_string()
        );
        assert_eq!(Unanswered::NotYet.code(), "account-not-open-yet");
    }

    #[test]
    fn an_opening_names_a_listed_currency_or_none() {
        let open = |code| Command::Open {
            currency: Currency::stored(code).expect("valid"),
        };
        for (body, command) in [
            ("", open("EUR")),
            ("{}", open("EUR")),
            (r#"{"currency":"JPY"}"#, open("JPY")),
        ] {
            assert_eq!(
                Command::beginning(body.as_bytes(), &settings()),
                Ok(command),
                "{body}"
            );
        }
        for (body, pointer) in [
            (r#"{"currency":"jpy"}"#, "/currency"),
            (r#"{"currency":7}"#, "/currency"),
            (r#"{"currency":"EUR","currency":"EUR"}"#, ""),
            (r#"{"owner":"x"}"#, ""),
            ("[]", ""),
            ("[5]", ""),
            ("nonsense", ""),
            ("{} {}", ""),
        ] {
            let error = Command::beginning(body.as_bytes(), &settings()).expect_err(body);
            assert_eq!(error.pointer, pointer, "{body}");
        }
    }

    #[test]
    fn a_movement_takes_a_whole_amount_within_its_limits_and_nothing_else() {
        let amount = Amount::new(9_007_199_254_740_991).expect("valid");
        assert_eq!(
            Command::named(CommandName::Credit, br#"{"amount":9007199254740991}"#),
            Ok(Command::Credit { amount })
        );
        for (body, pointer) in [
            (r#"{"amount":0}"#, "/amount"),
            (r#"{"amount":-5}"#, "/amount"),
            (r#"{"amount":1.5}"#, "/amount"),
            (r#"{"amount":1.0}"#, "/amount"),
            (r#"{"amount":1e3}"#, "/amount"),
            (r#"{"amount":"5"}"#, "/amount"),
            (r#"{"amount":null}"#, "/amount"),
            (r#"{"amount":9007199254740992}"#, "/amount"),
            (r#"{"amount":99999999999999999999999999}"#, "/amount"),
            (r#"{"amount":5,"currency":"EUR"}"#, ""),
            (r#"{"amount":5,"amount":6}"#, ""),
            ("{}", ""),
            ("", ""),
            ("5", ""),
        ] {
            let error = Command::named(CommandName::Withdraw, body.as_bytes()).expect_err(body);
            assert_eq!(error.pointer, pointer, "{body}");
        }
    }
}
