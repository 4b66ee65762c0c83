//! `Idempotency-Key`: stores the first outcome of a command, and returns it for duplicates.
//!
//! A key belongs to the authenticated caller, not to a path. So a caller has to make each key unique, for
//! example a UUID; two callers may use the same one. If the API doesn't authenticate callers, all of them
//! count as one caller. The previous version stored the key without the caller. Its records are read as
//! well, until they expire. The record and the rows are stored in one transaction.
//!
//! The stored outcome is a decision: an acceptance, or the domain's refusal. A request without a decision
//! (malformed, no such aggregate, a failed precondition, a version conflict) stores nothing, and may be
//! sent again.

use std::fmt::Write as _;
use std::time::Duration;

use millrace_core::{Attribute, Attributes, DecodeError, Timestamp};
use millrace_runtime::http::{Caller, Problem, Response};
use sha2::{Digest as _, Sha256};

/// The table's hash key.
pub const KEY: &str = "Key";
/// When a record expires, in seconds since 1970: the table's TTL attribute. DynamoDB deletes the record
/// some time after that, so an expired record is treated as absent
/// ([TTL](https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/TTL.html)).
pub const EXPIRES_AT: &str = "ExpiresAt";
const REQUEST_HASH: &str = "RequestHash";
const STATUS: &str = "Status";
const BODY: &str = "Body";
const ETAG: &str = "ETag";
const LOCATION: &str = "Location";

/// How long an outcome is valid.
const KEPT: Duration = Duration::from_hours(24);
/// The header of a response that is a stored outcome.
const REPLAYED: &str = "idempotent-replayed";

/// Separates the caller from the key that the caller sent. A sent key contains printable ASCII only, so
/// no key of the previous form contains the separator.
const SEPARATOR: char = '\n';
/// The longest caller that a record's key contains as it is, in bytes; a longer one is replaced by
/// its hash, since a table's hash key takes 2,048 bytes
/// ([limits](https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/Constraints.html)).
const MAX_CALLER: usize = 1024;

/// A key, its caller, and the request that it was sent with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Key {
    stored: String,
    sent: String,
    request_hash: String,
}

impl Key {
    /// A caller's key with the parts of the request that have to be the same in a duplicate.
    pub(crate) fn of(caller: Option<&Caller>, key: &str, request: &[&[u8]]) -> Self {
        let mut caller = caller.map(Caller::without_session).unwrap_or_default();
        if caller.len() > MAX_CALLER {
            caller = hash(&[caller.as_bytes()]);
        }
        Self {
            stored: format!("{caller}{SEPARATOR}{key}"),
            sent: key.to_owned(),
            request_hash: hash(request),
        }
    }

    /// The record's key: `<caller>\n<key>`.
    pub(crate) fn stored(&self) -> &str {
        &self.stored
    }

    /// The record's key as the previous version stored it: the key alone, as the client sent it.
    pub(crate) fn previous(&self) -> &str {
        &self.sent
    }

    /// The record of an outcome.
    pub(crate) fn record(&self, outcome: &Response, now: Timestamp) -> Attributes {
        let mut record: Attributes = [
            (KEY, Attribute::text(&self.stored)),
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

    /// The response to this request if the record is stored: the outcome of the first request, or a
    /// problem if that was another request. `None` if the record has expired.
    ///
    /// # Errors
    /// [`DecodeError`] if the record can't be read.
    pub(crate) fn recorded(
        &self,
        record: &Attributes,
        now: Timestamp,
    ) -> Result<Option<Response>, DecodeError> {
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
            .map_err(|_| DecodeError::new(STATUS, "is no HTTP status"))?;
        let mut response = Response::stored(status, text(record, BODY)?.to_owned());
        for (name, header) in [(ETAG, "etag"), (LOCATION, "location")] {
            if record.contains_key(name) {
                response = response.with_header(header, text(record, name)?);
            }
        }
        Ok(Some(response.with_header(REPLAYED, "true")))
    }
}

/// SHA-256 in hexadecimal digits. Each part's length comes first, so that no two lists of parts run
/// together into one.
fn hash(parts: &[&[u8]]) -> String {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update(part.len().to_be_bytes());
        hash.update(part);
    }
    let mut digits = String::new();
    for byte in hash.finalize() {
        write!(digits, "{byte:02x}").expect("a String takes all that is written");
    }
    digits
}

/// Seconds since 1970, as DynamoDB counts a TTL.
#[must_use]
pub const fn seconds(time: Timestamp) -> i64 {
    time.unix_millis().div_euclid(1000)
}

fn text<'a>(record: &'a Attributes, name: &'static str) -> Result<&'a str, DecodeError> {
    match record.get(name) {
        Some(Attribute::Text(text)) => Ok(text),
        Some(other) => Err(DecodeError::new(
            name,
            format!("is of type {}, not S", other.type_name()),
        )),
        None => Err(DecodeError::new(name, "is missing")),
    }
}

fn integer(record: &Attributes, name: &'static str) -> Result<i64, DecodeError> {
    record
        .get(name)
        .and_then(Attribute::as_integer)
        .ok_or_else(|| DecodeError::new(name, "is not a whole number"))
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
        let key = Key::of(None, "k", &[b"POST", b"/accounts"]);
        let record = key.record(&outcome(), at(0));
        let repeated = key.recorded(&record, at(86_399)).expect("readable");
        let repeated = repeated.expect("not expired");
        assert_eq!((repeated.status, repeated.body.as_str()), (201, "{}"));
        for (name, value) in outcome().headers.iter().chain(&[(REPLAYED, "true".into())]) {
            assert!(repeated.headers.contains(&(name, value.clone())), "{name}");
        }
    }

    #[test]
    fn a_key_is_stored_after_its_caller() {
        let caller = |arn: &str| Caller::new(arn.to_owned());
        let role = |session| caller(&format!("arn:aws:sts::1:assumed-role/Teller/{session}"));
        let (one, other) = (role("monday"), role("tuesday"));
        let key = Key::of(one.as_ref(), "k", &[]);
        assert_eq!(key.stored(), "arn:aws:sts::1:assumed-role/Teller\nk");
        assert_eq!(key.previous(), "k");
        assert_eq!(Key::of(other.as_ref(), "k", &[]), key);
        assert_eq!(Key::of(None, "k", &[]).stored(), "\nk");
        // Up to the limit as it is, above it as a hash, and never beyond what the table takes.
        let long = |length| Key::of(caller(&"c".repeat(length)).as_ref(), "k", &[]);
        assert_eq!(long(1024).stored(), format!("{}\nk", "c".repeat(1024)));
        assert_eq!(long(1025).stored().len(), 64 + 2);
        assert_ne!(long(1025).stored(), long(1026).stored());
    }

    /// As the version stored it before the functions became generic over the domain.
    #[test]
    fn a_stored_record_is_honoured_under_the_callers_key_and_under_the_key_alone() {
        let caller = Caller::new("arn:aws:iam::000000000000:user/ann".to_owned());
        let request: [&[u8]; 4] = [b"POST", b"/accounts/a-1/credit", b"", br#"{"amount":1250}"#];
        let key = Key::of(caller.as_ref(), "k", &request);
        let body = r#"{"accountId":"a-1","sequence":2,"balance":1250}"#;
        for stored_key in ["arn:aws:iam::000000000000:user/ann\nk", "k"] {
            let record: Attributes = [
                ("Key", Attribute::text(stored_key)),
                (
                    "RequestHash",
                    Attribute::text(
                        "5753465aeca772603ede76b23e2b1b35e60f66f1cd634d5888a3c6fc76f2fb8d",
                    ),
                ),
                ("Status", Attribute::number(200)),
                ("Body", Attribute::text(body)),
                ("ETag", Attribute::text("\"2\"")),
                ("ExpiresAt", Attribute::number(1_800_086_400)),
            ]
            .map(|(name, value)| (name.to_owned(), value))
            .into();
            assert!([key.stored(), key.previous()].contains(&stored_key));
            let now = Timestamp::from_unix_millis(1_800_000_000_000).expect("valid");
            let outcome = key.recorded(&record, now).expect("readable");
            let outcome = outcome.expect("not expired");
            assert_eq!((outcome.status, &*outcome.body), (200, body));
            let etag = ("etag", "\"2\"".to_owned());
            assert!(outcome.headers.contains(&etag), "{:?}", outcome.headers);
        }
    }

    #[test]
    fn another_request_is_refused() {
        let record = Key::of(None, "k", &[b"ab", b"c"]).record(&outcome(), at(0));
        let other = Key::of(None, "k", &[b"a", b"bc"]).recorded(&record, at(1));
        let other = other.expect("readable").expect("not expired");
        assert_eq!(other.status, 422);
        assert!(other.body.contains("idempotency-key-reused"));
    }

    #[test]
    fn an_expired_record_counts_as_absent() {
        let key = Key::of(None, "k", &[]);
        let record = key.record(&outcome(), at(0));
        assert_eq!(key.recorded(&record, at(86_400)), Ok(None));
    }

    #[test]
    fn a_record_that_cannot_be_read_is_an_error_that_names_the_attribute() {
        let key = Key::of(None, "k", &[]);
        for name in [EXPIRES_AT, REQUEST_HASH, STATUS, BODY, ETAG] {
            let mut record = key.record(&outcome(), at(0));
            record.insert(name.to_owned(), Attribute::Other("M"));
            let error = key.recorded(&record, at(1)).expect_err(name);
            assert_eq!(error.path(), name);
        }
    }
}
