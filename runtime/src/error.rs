//! Errors of services, and how an error is shown with its causes.

use std::error::Error;
use std::fmt::{self, Write as _};

/// A service call failed: usually for a reason that may pass, so that the call is retried.
#[derive(Debug, thiserror::Error)]
#[error("{action} failed")]
pub struct ServiceError {
    action: &'static str,
    source: Box<dyn Error + Send + Sync>,
    is_permanent: bool,
}

impl ServiceError {
    /// The error of an action, such as "Query on the events table", with the SDK's error as its source.
    pub fn new(action: &'static str, source: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self {
            action,
            source: source.into(),
            is_permanent: false,
        }
    }

    /// The service refused the call because of its content, with this error code, and would refuse the
    /// same call again. Nothing has changed.
    pub fn permanent(action: &'static str, code: impl Into<String>) -> Self {
        Self {
            action,
            source: code.into().into(),
            is_permanent: true,
        }
    }

    /// Whether the same call would be refused again.
    #[must_use]
    pub const fn is_permanent(&self) -> bool {
        self.is_permanent
    }
}

/// Shows an error with all its causes, joined by `: `, for a log line.
///
/// The messages of AWS services contain AWS account ids, in ARNs and in "under account 111122223333"
/// ([PutRecords](https://docs.aws.amazon.com/kinesis/latest/APIReference/API_PutRecords.html)). They are shown as
/// `(account)`.
#[derive(Debug)]
pub struct Chain<'a>(pub &'a dyn Error);

/// What is shown in place of an AWS account id.
const ACCOUNT: &str = "(account)";
/// The number of digits of an AWS account id
/// ([account identifiers](https://docs.aws.amazon.com/IAM/latest/UserGuide/console-account-alias.html)).
const ACCOUNT_DIGITS: usize = 12;

impl fmt::Display for Chain<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = self.0.to_string();
        let mut cause = self.0.source();
        while let Some(error) = cause {
            write!(text, ": {error}")?;
            cause = error.source();
        }
        f.write_str(&without_account_ids(&text))
    }
}

/// Replaces each number of twelve digits that isn't a part of a longer number, word or UUID.
fn without_account_ids(text: &str) -> String {
    let is_part = |character: char| character.is_alphanumeric() || character == '-';
    let pieces = text.split_inclusive(|character| !is_part(character));
    pieces
        .map(|piece| {
            let end = piece.trim_end_matches(|character| !is_part(character));
            let is_account =
                end.len() == ACCOUNT_DIGITS && end.bytes().all(|byte| byte.is_ascii_digit());
            if is_account {
                piece.replacen(end, ACCOUNT, 1)
            } else {
                piece.to_owned()
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chain_shows_every_cause() {
        let error = ServiceError::new(
            "Query on the events table",
            ServiceError::new("connecting", "refused"),
        );
        assert_eq!(
            Chain(&error).to_string(),
            "Query on the events table failed: connecting failed: refused"
        );
    }

    #[test]
    fn a_chain_shows_no_account_id() {
        let refused = "User: arn:aws:sts::123456789012:assumed-role/translator/f isn't authorized";
        let limited = "Rate exceeded for shard shardId-000000000001 under account 111122223333.";
        let error = ServiceError::new(refused, limited);
        assert_eq!(
            Chain(&error).to_string(),
            "User: arn:aws:sts::(account):assumed-role/translator/f isn't authorized failed: Rate exceeded for \
             shard shardId-000000000001 under account (account)."
        );
        for unchanged in [
            "ä 12345678901 1234567890123 a123456789012 0e5bab83-270a-48ba-8eb6-123456789012",
            "",
            "…",
        ] {
            assert_eq!(without_account_ids(unchanged), unchanged);
        }
        assert_eq!(without_account_ids("123456789012"), "(account)");
    }
}
