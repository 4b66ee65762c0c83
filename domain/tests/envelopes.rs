//! The public events of accounts: their bytes, and which bytes are refused.

use proptest::prelude::*;

use millrace_core::{
    AggregateId, DecodeError, Metadata, RecordedEvent, Sequence, Timestamp, TraceParent, Version,
};
use millrace_domain::money::{Amount, Currency};
use millrace_domain::{Accounts, Channel, Context, Event, PublicEvent};

type Envelope = millrace_core::Envelope<PublicEvent>;

fn parse(bytes: &[u8]) -> Result<Envelope, DecodeError> {
    Envelope::parse::<Accounts>(bytes)
}

fn to_bytes(envelope: &Envelope) -> Vec<u8> {
    envelope.to_bytes::<Accounts>().expect("bytes")
}

const SPAN: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

fn example() -> Envelope {
    Envelope {
        subject: AggregateId::new("a-1").expect("valid"),
        sequence: Sequence::new(7).expect("valid"),
        time: Timestamp::parse("2026-11-20T21:03:05.123Z").expect("valid"),
        correlation_id: Some("corr".into()),
        causation_id: Some("cause".into()),
        trace_parent: TraceParent::parse(SPAN).ok(),
        event: PublicEvent::BalanceWithdrawn {
            amount: Amount::new(1000).expect("valid"),
            currency: Currency::stored("EUR").expect("valid"),
        },
    }
}

const EXAMPLE: &str = concat!(
    r#"{"specversion":"1.0","id":"a-1:7","source":"urn:millrace:accounts","#,
    r#""type":"BalanceWithdrawn","subject":"a-1","time":"2026-11-20T21:03:05.123Z","#,
    r#""datacontenttype":"application/json","#,
    r#""dataschema":"urn:millrace:schema:BalanceWithdrawn:1","#,
    r#""correlationid":"corr","causationid":"cause","#,
    r#""traceparent":"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01","#,
    r#""data":{"accountId":"a-1","sequence":7,"amount":1000,"currency":"EUR"}}"#
);

#[test]
fn an_envelope_has_exactly_these_bytes() {
    assert_eq!(
        String::from_utf8(to_bytes(&example())).expect("utf-8"),
        EXAMPLE
    );
}

#[test]
fn version_2_of_a_withdrawal_has_its_channel() {
    let envelope = Envelope {
        event: PublicEvent::BalanceWithdrawn2 {
            amount: Amount::new(1000).expect("valid"),
            currency: Currency::stored("EUR").expect("valid"),
            channel: Channel::Branch,
        },
        ..example()
    };
    let bytes = String::from_utf8(to_bytes(&envelope)).expect("utf-8");
    let expected = EXAMPLE
        .replace(":BalanceWithdrawn:1", ":BalanceWithdrawn:2")
        .replace(r#""EUR"}"#, r#""EUR","channel":"branch"}"#);
    assert_eq!(bytes, expected);
    assert_eq!(parse(bytes.as_bytes()).expect("parses"), envelope);
    let other = bytes.replace("branch", "unrecorded");
    let error = parse(other.as_bytes()).expect_err("no channel");
    assert_eq!(error.path(), "data.channel", "{error}");
}

#[test]
fn absent_members_are_left_out() {
    let envelope = Envelope {
        correlation_id: None,
        causation_id: None,
        trace_parent: None,
        ..example()
    };
    let text = String::from_utf8(to_bytes(&envelope)).expect("utf-8");
    for member in ["correlationid", "causationid", "traceparent"] {
        assert!(!text.contains(member), "{text}");
    }
    assert_eq!(parse(text.as_bytes()).expect("parses"), envelope);
}

#[test]
fn unknown_members_of_an_envelope_are_ignored() {
    let extended = EXAMPLE.replacen('{', r#"{"tracestate":"congo=t61rcWkgMzE","#, 1);
    assert_eq!(parse(extended.as_bytes()).expect("parses"), example());
}

#[test]
fn names_the_wrong_member_of_an_envelope() {
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
            "dataschema",
        ),
        // Version 2 has a channel.
        (":BalanceWithdrawn:1", ":BalanceWithdrawn:2", "data.channel"),
        (":BalanceWithdrawn:1", ":BalanceWithdrawn:3", "dataschema"),
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
        let error = parse(bytes.as_bytes()).expect_err(member);
        assert_eq!(error.path(), member, "{error}");
    }
    // An array with the right values isn't accepted as `data` either.
    let data = EXAMPLE.find(r#""data":{"#).expect("data") + r#""data":"#.len();
    let array = format!("{}[\"a\",7,1000,\"EUR\"]}}", &EXAMPLE[..data]);
    for no_json in ["", "{", "[]", "null", r#"{"amount":1.5}"#, &array] {
        assert!(parse(no_json.as_bytes()).is_err(), "{no_json}");
    }
}

#[test]
fn a_movement_contains_the_currency_of_the_opening_and_no_actor() {
    let recorded = |version, event| RecordedEvent {
        id: AggregateId::new("a").expect("valid"),
        version: Version::new(version).expect("valid"),
        time: Timestamp::from_unix_millis(0).expect("valid"),
        metadata: Metadata::default(),
        event,
    };
    let currency = Currency::stored("JPY").expect("valid");
    let amount = Amount::new(1).expect("valid");
    let opening = recorded(1, Event::AccountCreated { currency });
    let credit = recorded(3, Event::BalanceCredited { amount });
    let mut context = Context::default();
    assert_eq!(Envelope::publish::<Accounts>(&mut context, &credit), None);
    assert!(Envelope::publish::<Accounts>(&mut context, &opening).is_some());
    let published = Envelope::publish::<Accounts>(&mut context, &credit).expect("published");
    assert_eq!(
        published.event,
        PublicEvent::BalanceCredited { amount, currency }
    );

    let mut known = credit;
    known.metadata.actor = Some("arn:aws:iam::1:user/ann".to_owned());
    let with_actor = Envelope::publish::<Accounts>(&mut context, &known).expect("published");
    assert_eq!(to_bytes(&with_actor), to_bytes(&published));

    let columns = millrace_core::cursor::context_columns::<Accounts>(&context).expect("columns");
    let read = millrace_core::cursor::read_context::<Accounts>(&columns);
    assert_eq!(read, Ok(context));
}

prop_compose! {
    fn any_envelope()(
        subject in "[^\\p{Cc}]{1,40}",
        sequence in 2_u64..1 << 53,
        millis in 0_i64..253_402_300_799_999,
        correlation_id in proptest::option::of("[^\\p{Cc}]{1,20}"),
        amount in 1_i64..1 << 53,
        currency in "[A-Z]{3}",
        kind in 0..4,
        span in proptest::option::of("00-[0-9a-f]{31}[1-9a-f]-[0-9a-f]{15}[1-9a-f]-0[01]"),
    ) -> Envelope {
        let currency = Currency::stored(&currency).expect("three capitals");
        let amount = Amount::new(amount).expect("in range");
        let (sequence, event) = match kind {
            0 => (1, PublicEvent::AccountCreated { currency }),
            1 => (sequence, PublicEvent::BalanceCredited { amount, currency }),
            2 => (sequence, PublicEvent::BalanceWithdrawn { amount, currency }),
            _ => (sequence, PublicEvent::BalanceWithdrawn2 { amount, currency, channel: Channel::Atm }),
        };
        Envelope {
            subject: AggregateId::new(subject).expect("printable"),
            sequence: Sequence::new(sequence).expect("in range"),
            time: Timestamp::from_unix_millis(millis).expect("in range"),
            causation_id: correlation_id.clone(),
            trace_parent: span.map(|span| TraceParent::parse(&span).expect("valid")),
            correlation_id,
            event,
        }
    }
}

proptest! {
    #[test]
    fn an_envelope_is_read_back_and_written_to_the_same_bytes(envelope in any_envelope()) {
        let bytes = to_bytes(&envelope);
        prop_assert!(!bytes.contains(&b'\n'), "one line");
        let read = parse(&bytes).expect("own bytes");
        prop_assert_eq!(&read, &envelope);
        prop_assert_eq!(to_bytes(&read), bytes);
    }

    #[test]
    fn no_bytes_make_parsing_panic(bytes in prop::collection::vec(any::<u8>(), 0..200), cut in 0..EXAMPLE.len(), byte in any::<u8>()) {
        prop_assert!(parse(&bytes).is_err());
        let mut damaged = EXAMPLE.as_bytes().to_vec();
        damaged[cut] = byte;
        if let Ok(read) = parse(&damaged) {
            prop_assert_eq!(parse(&to_bytes(&read)).expect("own bytes"), read);
        }
    }
}
