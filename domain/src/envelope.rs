//! The public contract: one [CloudEvents 1.0](https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/formats/json-format.md)
//! JSON object, in structured mode, per event.
//!
//! Invariant: the same event always serialises to the same bytes: members stand in one order,
//! absent ones are left out, times have three decimals, money is a whole number.

use serde::{Deserialize, Serialize};

use crate::account::Event;
use crate::attribute::{Attribute, Attributes};
use crate::ids::{AggregateId, Trace};
use crate::json::Object;
use crate::layout::Sequence;
use crate::money::{Amount, Currency};
use crate::row::{RecordedEvent, RowError};
use crate::time::Timestamp;

/// The `source` of every event.
pub const SOURCE: &str = "urn:millrace:accounts";
const SPEC_VERSION: &str = "1.0";
const CONTENT_TYPE: &str = "application/json";
const SCHEMA_PREFIX: &str = "urn:millrace:schema";
/// The version of every type's `data`, which its `dataschema` ends with.
const SCHEMA_VERSION: u32 = 1;

const ACCOUNT_CREATED: &str = "AccountCreated";
const BALANCE_CREDITED: &str = "BalanceCredited";
const BALANCE_WITHDRAWN: &str = "BalanceWithdrawn";

/// A domain event as everyone outside sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Envelope {
    /// Whose event it is: `subject`, `data.accountId`, and the partition key.
    pub subject: AggregateId,
    /// Its place in the account's history, from 1: `data.sequence`.
    pub sequence: Sequence,
    /// When it happened.
    pub time: Timestamp,
    /// `correlationid`.
    pub correlation_id: Option<String>,
    /// `causationid`.
    pub causation_id: Option<String>,
    /// The account's currency.
    pub currency: Currency,
    /// What happened.
    pub event: Event,
}

/// What an account's earlier events say that its later events' envelopes repeat: the currency,
/// which only the opening's row holds. It travels in the publication cursor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Context {
    currency: Currency,
}

/// Bytes that aren't one of our domain events.
#[derive(Debug, thiserror::Error)]
pub enum EnvelopeError {
    /// It isn't a JSON object of the members that every event has.
    #[error("is not a domain event in JSON: {0}")]
    Json(#[from] serde_json::Error),
    /// A member is wrong.
    #[error("{member}: {problem}")]
    Member {
        /// Which.
        member: &'static str,
        /// Why.
        problem: String,
    },
}

#[derive(Serialize, Deserialize)]
struct Wire<'a> {
    #[serde(borrow)]
    specversion: Text<'a>,
    id: Text<'a>,
    source: Text<'a>,
    r#type: Text<'a>,
    subject: Text<'a>,
    time: Text<'a>,
    datacontenttype: Text<'a>,
    dataschema: Text<'a>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    correlationid: Option<Text<'a>>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    causationid: Option<Text<'a>>,
    #[serde(borrow)]
    data: Object<Data<'a>>,
}

type Text<'a> = std::borrow::Cow<'a, str>;

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Data<'a> {
    #[serde(borrow)]
    account_id: Text<'a>,
    sequence: u64,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    amount: Option<i64>,
    currency: Text<'a>,
}

impl Context {
    const CURRENCY: &'static str = "Currency";

    /// What `event` and the events before it say; `None` while no opening was among them.
    #[must_use]
    pub const fn after(before: Option<Self>, event: &RecordedEvent) -> Option<Self> {
        match &event.event {
            Event::AccountCreated { currency } => Some(Self {
                currency: *currency,
            }),
            Event::BalanceCredited { .. } | Event::BalanceWithdrawn { .. } => before,
        }
    }

    /// The attributes that carry it in the cursor.
    #[must_use]
    pub fn to_attributes(self) -> Attributes {
        [(Self::CURRENCY.to_owned(), Attribute::text(self.currency))].into()
    }

    /// Reads it from a cursor; `None` where the cursor holds none.
    ///
    /// # Errors
    /// [`RowError`] when an attribute is there and can't be read.
    pub fn read(cursor: &Attributes) -> Result<Option<Self>, RowError> {
        match cursor.get(Self::CURRENCY) {
            None => Ok(None),
            Some(Attribute::Text(code)) => Currency::stored(code)
                .map(|currency| Some(Self { currency }))
                .map_err(|error| RowError::new(Self::CURRENCY, error)),
            Some(other) => Err(RowError::new(
                Self::CURRENCY,
                format!("is of type {}, not S", other.type_name()),
            )),
        }
    }
}

impl Envelope {
    /// The envelope of an event in its account's [`Context`], which [`Context::after`] gave for
    /// this very event.
    #[must_use]
    pub fn of(recorded: &RecordedEvent, context: Context) -> Self {
        let Trace {
            command_id: _,
            correlation_id,
            causation_id,
            actor: _,
        } = recorded.trace.clone();
        Self {
            subject: recorded.id.clone(),
            sequence: recorded.sequence(),
            time: recorded.time,
            correlation_id,
            causation_id,
            currency: context.currency,
            event: recorded.event.clone(),
        }
    }

    /// `<accountId>:<sequence>`: the same for every repeat, unique to the event.
    #[must_use]
    pub fn id(&self) -> String {
        format!("{}:{}", self.subject, self.sequence)
    }

    /// `type`: the event's name.
    #[must_use]
    pub const fn type_name(&self) -> &'static str {
        match self.event {
            Event::AccountCreated { .. } => ACCOUNT_CREATED,
            Event::BalanceCredited { .. } => BALANCE_CREDITED,
            Event::BalanceWithdrawn { .. } => BALANCE_WITHDRAWN,
        }
    }

    /// The envelope's bytes: one JSON object without a line break.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let amount = match &self.event {
            Event::AccountCreated { .. } => None,
            Event::BalanceCredited { amount } | Event::BalanceWithdrawn { amount } => {
                Some(amount.minor_units())
            }
        };
        let wire = Wire {
            specversion: SPEC_VERSION.into(),
            id: self.id().into(),
            source: SOURCE.into(),
            r#type: self.type_name().into(),
            subject: self.subject.as_str().into(),
            time: self.time.to_string().into(),
            datacontenttype: CONTENT_TYPE.into(),
            dataschema: schema(self.type_name()).into(),
            correlationid: self.correlation_id.as_deref().map(Text::from),
            causationid: self.causation_id.as_deref().map(Text::from),
            data: Object(Data {
                account_id: self.subject.as_str().into(),
                sequence: self.sequence.get(),
                amount,
                currency: self.currency.as_str().into(),
            }),
        };
        serde_json::to_vec(&wire).expect("texts and numbers always serialise")
    }

    /// Reads an envelope. Members that it doesn't know are left aside, as CloudEvents asks for
    /// extension attributes.
    ///
    /// # Errors
    /// [`EnvelopeError`], which names the member that is missing or wrong.
    pub fn parse(bytes: &[u8]) -> Result<Self, EnvelopeError> {
        let Object::<Wire<'_>>(wire) = serde_json::from_slice(bytes)?;
        let Object(data) = &wire.data;
        let wrong = |member, problem: String| EnvelopeError::Member { member, problem };
        if wire.specversion != SPEC_VERSION {
            return Err(wrong("specversion", format!("is not {SPEC_VERSION}")));
        }
        if wire.source != SOURCE {
            return Err(wrong("source", format!("is not {SOURCE}")));
        }
        let currency =
            Currency::stored(&data.currency).map_err(|e| wrong("data.currency", e.to_string()))?;
        let event = match (&*wire.r#type, data.amount) {
            (ACCOUNT_CREATED, None) => Event::AccountCreated { currency },
            (BALANCE_CREDITED, Some(amount)) => Event::BalanceCredited {
                amount: money(amount)?,
            },
            (BALANCE_WITHDRAWN, Some(amount)) => Event::BalanceWithdrawn {
                amount: money(amount)?,
            },
            (ACCOUNT_CREATED, Some(_)) => {
                return Err(wrong("data.amount", "has no place in an opening".into()));
            }
            (BALANCE_CREDITED | BALANCE_WITHDRAWN, None) => {
                return Err(wrong("data.amount", "is missing".into()));
            }
            _ => return Err(wrong("type", "is no known event type".into())),
        };
        if wire.dataschema != schema(&wire.r#type) {
            let problem = format!("is not version {SCHEMA_VERSION} of the type");
            return Err(wrong("dataschema", problem));
        }
        let subject =
            AggregateId::new(wire.subject).map_err(|e| wrong("subject", e.to_string()))?;
        if data.account_id != subject.as_str() {
            return Err(wrong("data.accountId", "is not the subject".into()));
        }
        let Some(sequence) = Sequence::new(data.sequence).filter(|s| *s != Sequence::NONE) else {
            let problem = "is not a whole number from 1 to 2^53-1".into();
            return Err(wrong("data.sequence", problem));
        };
        if (sequence.get() == 1) != matches!(event, Event::AccountCreated { .. }) {
            let problem = "is 1 for an opening and for nothing else".into();
            return Err(wrong("data.sequence", problem));
        }
        let time = Timestamp::parse(&wire.time).map_err(|e| wrong("time", e.to_string()))?;
        let envelope = Self {
            subject,
            sequence,
            time,
            correlation_id: wire.correlationid.map(Text::into_owned),
            causation_id: wire.causationid.map(Text::into_owned),
            currency,
            event,
        };
        if wire.id != envelope.id() {
            return Err(wrong("id", "is not <subject>:<sequence>".into()));
        }
        Ok(envelope)
    }
}

fn schema(type_name: &str) -> String {
    format!("{SCHEMA_PREFIX}:{type_name}:{SCHEMA_VERSION}")
}

fn money(minor_units: i64) -> Result<Amount, EnvelopeError> {
    Amount::new(minor_units).map_err(|error| EnvelopeError::Member {
        member: "data.amount",
        problem: error.to_string(),
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::layout::Version;

    fn example() -> Envelope {
        Envelope {
            subject: AggregateId::new("a-1").expect("valid"),
            sequence: Sequence::new(7).expect("valid"),
            time: Timestamp::parse("2026-11-20T21:03:05.123Z").expect("valid"),
            correlation_id: Some("corr".into()),
            causation_id: Some("cause".into()),
            currency: Currency::stored("EUR").expect("valid"),
            event: Event::BalanceWithdrawn {
                amount: Amount::new(1000).expect("valid"),
            },
        }
    }

    const EXAMPLE: &str = concat!(
        r#"{"specversion":"1.0","id":"a-1:7","source":"urn:millrace:accounts","#,
        r#""type":"BalanceWithdrawn","subject":"a-1","time":"2026-11-20T21:03:05.123Z","#,
        r#""datacontenttype":"application/json","#,
        r#""dataschema":"urn:millrace:schema:BalanceWithdrawn:1","#,
        r#""correlationid":"corr","causationid":"cause","#,
        r#""data":{"accountId":"a-1","sequence":7,"amount":1000,"currency":"EUR"}}"#
    );

    #[test]
    fn the_bytes_are_the_contract() {
        assert_eq!(
            String::from_utf8(example().to_bytes()).expect("utf-8"),
            EXAMPLE
        );
    }

    #[test]
    fn absent_members_are_left_out() {
        let envelope = Envelope {
            correlation_id: None,
            causation_id: None,
            ..example()
        };
        let text = String::from_utf8(envelope.to_bytes()).expect("utf-8");
        assert!(
            !text.contains("correlationid") && !text.contains("causationid"),
            "{text}"
        );
        assert_eq!(Envelope::parse(text.as_bytes()).expect("parses"), envelope);
    }

    #[test]
    fn members_of_others_are_left_aside() {
        let extended = EXAMPLE.replacen('{', r#"{"traceparent":"00-1","#, 1);
        assert_eq!(
            Envelope::parse(extended.as_bytes()).expect("parses"),
            example()
        );
    }

    #[test]
    fn a_wrong_member_is_named() {
        for (from, to, member) in [
            (
                r#""specversion":"1.0""#,
                r#""specversion":"2.0""#,
                "specversion",
            ),
            ("urn:millrace:accounts", "urn:other", "source"),
            (r#""id":"a-1:7""#, r#""id":"a-1:8""#, "id"),
            (r#""type":"BalanceWithdrawn""#, r#""type":"Other""#, "type"),
            (
                r#""type":"BalanceWithdrawn""#,
                r#""type":"AccountCreated""#,
                "data.amount",
            ),
            (":BalanceWithdrawn:1", ":BalanceWithdrawn:2", "dataschema"),
            (r#""subject":"a-1""#, r#""subject":"""#, "subject"),
            ("2026-11-20T", "2026-11-20 at ", "time"),
            (
                r#""accountId":"a-1""#,
                r#""accountId":"a-2""#,
                "data.accountId",
            ),
            (r#""sequence":7"#, r#""sequence":0"#, "data.sequence"),
            (r#""sequence":7"#, r#""sequence":1"#, "data.sequence"),
            (r#""amount":1000,"#, r#""amount":0,"#, "data.amount"),
            (r#""amount":1000,"#, "", "data.amount"),
            (
                r#""currency":"EUR""#,
                r#""currency":"eur""#,
                "data.currency",
            ),
        ] {
            let bytes = EXAMPLE.replacen(from, to, 1);
            match Envelope::parse(bytes.as_bytes()) {
                Err(EnvelopeError::Member { member: named, .. }) => assert_eq!(named, member),
                other => panic!("{member}: {other:?}"),
            }
        }
        // Not even the right values, when they are no objects.
        let data = EXAMPLE.find(r#""data":{"#).expect("there") + r#""data":"#.len();
        let array = format!("{}[\"a\",7,1000,\"EUR\"]}}", &EXAMPLE[..data]);
        for no_json in ["", "{", "[]", "null", r#"{"amount":1.5}"#, &array] {
            assert!(matches!(
                Envelope::parse(no_json.as_bytes()),
                Err(EnvelopeError::Json(_))
            ));
        }
    }

    #[test]
    fn the_currency_of_a_movement_is_that_of_the_opening() {
        let recorded = |version, event| RecordedEvent {
            id: AggregateId::new("a").expect("valid"),
            version: Version::new(version).expect("valid"),
            time: Timestamp::from_unix_millis(0).expect("valid"),
            trace: Trace::default(),
            event,
        };
        let jpy = Currency::stored("JPY").expect("valid");
        let opening = recorded(1, Event::AccountCreated { currency: jpy });
        let credit = recorded(
            3,
            Event::BalanceCredited {
                amount: Amount::new(1).expect("valid"),
            },
        );

        assert_eq!(Context::after(None, &credit), None);
        let context = Context::after(None, &opening).expect("an opening tells");
        let context = Context::after(Some(context), &credit).expect("kept");
        assert_eq!(Envelope::of(&credit, context).currency, jpy);

        let mut known = credit.clone();
        known.trace.actor = Some("arn:aws:iam::1:user/ann".to_owned());
        let bytes = |recorded| Envelope::of(recorded, context).to_bytes();
        assert_eq!(bytes(&known), bytes(&credit), "an actor is never published");

        assert_eq!(Context::read(&context.to_attributes()), Ok(Some(context)));
        assert_eq!(Context::read(&Attributes::new()), Ok(None));
        for wrong in [Attribute::text("x"), Attribute::number(1)] {
            let cursor = [("Currency".to_owned(), wrong)].into();
            assert_eq!(
                Context::read(&cursor).expect_err("wrong").attribute,
                "Currency"
            );
        }
    }

    prop_compose! {
        fn any_envelope()(
            subject in "[^\\p{Cc}]{1,40}",
            sequence in 2_u64..1 << 53,
            millis in 0_i64..253_402_300_799_999,
            correlation_id in proptest::option::of("[^\\p{Cc}]{1,20}"),
            amount in 1_i64..1 << 53,
            currency in "[A-Z]{3}",
            kind in 0..3,
        ) -> Envelope {
            let currency = Currency::stored(&currency).expect("three capitals");
            let amount = Amount::new(amount).expect("in range");
            let (sequence, event) = match kind {
                0 => (1, Event::AccountCreated { currency }),
                1 => (sequence, Event::BalanceCredited { amount }),
                _ => (sequence, Event::BalanceWithdrawn { amount }),
            };
            Envelope {
                subject: AggregateId::new(subject).expect("printable"),
                sequence: Sequence::new(sequence).expect("in range"),
                time: Timestamp::from_unix_millis(millis).expect("in range"),
                causation_id: correlation_id.clone(),
                correlation_id,
                currency,
                event,
            }
        }
    }

    proptest! {
        #[test]
        fn an_envelope_is_read_back_and_written_to_the_same_bytes(envelope in any_envelope()) {
            let bytes = envelope.to_bytes();
            prop_assert!(!bytes.contains(&b'\n'), "one line");
            let read = Envelope::parse(&bytes).expect("own bytes");
            prop_assert_eq!(&read, &envelope);
            prop_assert_eq!(read.to_bytes(), bytes);
        }

        #[test]
        fn nothing_that_comes_in_panics(bytes in prop::collection::vec(any::<u8>(), 0..200), cut in 0..EXAMPLE.len(), byte in any::<u8>()) {
            prop_assert!(Envelope::parse(&bytes).is_err());
            let mut damaged = EXAMPLE.as_bytes().to_vec();
            damaged[cut] = byte;
            if let Ok(read) = Envelope::parse(&damaged) {
                prop_assert_eq!(Envelope::parse(&read.to_bytes()).expect("own bytes"), read);
            }
        }
    }
}
