//! `Idempotency-Key`: the first outcome of a command, kept for its repeats.
//!
//! A key belongs to the API as a whole, not to a path, so a client makes each one unique, as with a
//! UUID. The record is stored together with the rows, so there is never one without the other.
//! What is kept is what was decided: an acceptance, or the domain's refusal. A request that never
//! came to a decision (malformed, no such aggregate, a precondition that failed, a lost race)
//! leaves nothing, and may be sent again.

use std::fmt::Write as _;
use std::time::Duration;

use millrace_domain::row::RowError;
use millrace_domain::{Attribute, Attributes, Timestamp};
use millrace_runtime::http::{Problem, Response};
use sha2::{Digest as _, Sha256};

/// The table's hash key.
pub const KEY: &str = "Key";
/// When a record is forgotten, in seconds since 1970: the table's TTL attribute. DynamoDB deletes
/// some time after that, so until it does the record counts as absent
/// ([TTL](https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/TTL.html)).
pub const EXPIRES_AT: &str = "ExpiresAt";
const REQUEST_HASH: &str = "RequestHash";
const STATUS: &str = "Status";
const BODY: &str = "Body";
const ETAG: &str = "ETag";
const LOCATION: &str = "Location";

/// How long an outcome is kept.
pub const KEPT: Duration = Duration::from_hours(24);
/// Tells an answer that was given before.
const REPLAYED: &str = "idempotent-replayed";

/// A key, and what it was sent with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Key {
    key: String,
    request_hash: String,
}

impl Key {
    /// A key with the parts of the request that have to be the same in a repeat.
    #[must_use]
    pub fn of(key: &str, request: &[&[u8]]) -> Self {
        let mut hash = Sha256::new();
        for part in request {
            // Each part's length first, so that no two requests run together into one.
            hash.update(part.len().to_be_bytes());
            hash.update(part);
        }
        let mut request_hash = String::new();
        for byte in hash.finalize() {
            write!(request_hash, "{byte:02x}").expect("a String takes all that is written");
        }
        Self {
            key: key.to_owned(),
            request_hash,
        }
    }

    /// The key as the client sent it.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.key
    }

    /// The record of an outcome.
    #[must_use]
    pub fn record(&self, outcome: &Response, now: Timestamp) -> Attributes {
        let mut record: Attributes = [
            (KEY, Attribute::text(&self.key)),
            (REQUEST_HASH, Attribute::text(&self.request_hash)),
            (STATUS, Attribute::number(outcome.status)),
            (BODY, Attribute::text(&outcome.body)),
            (
                EXPIRES_AT,
                Attribute::number(seconds(now) + i64::try_from(KEPT.as_secs()).unwrap_or(i64::MAX)),
            ),
        ]
        .map(|(name, value)| (name.to_owned(), value))
        .into();
        for (name, header) in [(ETAG, "etag"), (LOCATION, "location")] {
            if let Some((_, value)) = outcome.headers.iter().find(|(name, _)| *name == header) {
                record.insert(name.to_owned(), Attribute::text(value));
            }
        }
        record
    }

    /// What a stored record has to say to this request: the outcome of the first one; or, where
    /// that was another request, a problem. `None` where the record has expired.
    ///
    /// # Errors
    /// [`RowError`] when the record can't be read.
    pub fn recorded(
        &self,
        record: &Attributes,
        now: Timestamp,
    ) -> Result<Option<Response>, RowError> {
        if integer(record, EXPIRES_AT)? <= seconds(now) {
            return Ok(None);
        }
        if text(record, REQUEST_HASH)? != self.request_hash {
            let problem = Problem::new(
                422,
                "idempotency-key-reused",
                "another request has used this Idempotency-Key",
            );
            return Ok(Some(problem.into_response()));
        }
        let status = u16::try_from(integer(record, STATUS)?)
            .map_err(|_| RowError::new(STATUS, "is no HTTP status"))?;
        let mut response = Response::stored(status, text(record, BODY)?.to_owned());
        for (name, header) in [(ETAG, "etag"), (LOCATION, "location")] {
            if record.contains_key(name) {
                response = response.with_header(header, text(record, name)?);
            }
        }
        Ok(Some(response.with_header(REPLAYED, "true")))
    }
}

/// Seconds since 1970, as DynamoDB counts a TTL.
#[must_use]
pub const fn seconds(time: Timestamp) -> i64 {
    time.unix_millis().div_euclid(1000)
}

fn text<'a>(record: &'a Attributes, name: &'static str) -> Result<&'a str, RowError> {
    match record.get(name) {
        Some(Attribute::Text(text)) => Ok(text),
        Some(other) => Err(RowError::new(
            name,
            format!("is of type {}, not S", other.type_name()),
        )),
        None => Err(RowError::new(name, "is missing")),
    }
}

fn integer(record: &Attributes, name: &'static str) -> Result<i64, RowError> {
    record
        .get(name)
        .and_then(Attribute::as_integer)
        .ok_or_else(|| RowError::new(name, "is not a whole number"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_unix_millis(seconds * 1000).expect("valid")
    }

    fn outcome() -> Response {
        Response::stored(201, "{}".to_owned())
            .with_header("location", "/accounts/a")
            .with_header("etag", "\"1\"")
    }

    #[test]
    fn a_repeat_gets_the_first_outcome() {
        let key = Key::of("k", &[b"POST", b"/accounts"]);
        let record = key.record(&outcome(), at(0));
        let repeated = key.recorded(&record, at(86_399)).expect("readable");
        let repeated = repeated.expect("not expired");
        assert_eq!((repeated.status, repeated.body.as_str()), (201, "{}"));
        for (name, value) in outcome().headers.iter().chain(&[(REPLAYED, "true".into())]) {
            assert!(repeated.headers.contains(&(name, value.clone())), "{name}");
        }
    }

    #[test]
    fn another_request_is_refused() {
        let record = Key::of("k", &[b"ab", b"c"]).record(&outcome(), at(0));
        let other = Key::of("k", &[b"a", b"bc"]).recorded(&record, at(1));
        let other = other.expect("readable").expect("not expired");
        assert_eq!(other.status, 422);
        assert!(other.body.contains("idempotency-key-reused"));
    }

    #[test]
    fn an_expired_record_counts_as_absent() {
        let key = Key::of("k", &[]);
        let record = key.record(&outcome(), at(0));
        assert_eq!(key.recorded(&record, at(86_400)), Ok(None));
    }

    #[test]
    fn a_record_that_cannot_be_read_is_an_error_that_names_the_attribute() {
        let key = Key::of("k", &[]);
        for name in [EXPIRES_AT, REQUEST_HASH, STATUS, BODY, ETAG] {
            let mut record = key.record(&outcome(), at(0));
            record.insert(name.to_owned(), Attribute::Other("M"));
            let error = key.recorded(&record, at(1)).expect_err(name);
            assert_eq!(error.attribute, name);
        }
    }
}
