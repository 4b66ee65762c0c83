//! A history whose events, duplicates and faults are known, as the lake contains it.

use std::collections::{BTreeMap, BTreeSet};

use millrace_core::{AggregateId, Sequence, Timestamp};
use millrace_domain::money::{Amount, Currency, MAX_MINOR_UNITS};
use millrace_domain::{Accounts, Channel, PublicEvent};

pub(crate) type Envelope = millrace_core::Envelope<PublicEvent>;

/// The number of accounts.
pub(crate) const ACCOUNTS: usize = 40;
/// The number of events of each account but the last one, which lacks two.
const EVENTS: u64 = 14;
/// The sequences that the lake lacks, of the last account.
pub(crate) const MISSING: [u64; 2] = [4, 5];

const DAY: i64 = 24 * 60 * 60 * 1000;
const HOUR: i64 = 60 * 60 * 1000;
/// 2026-10-01 in UTC.
const START: i64 = 1_790_812_800_000;

/// An event in the lake.
#[derive(Debug, Clone)]
pub(crate) struct Delivered {
    pub(crate) envelope: Envelope,
    /// The day of its object, which is the day of its arrival.
    pub(crate) day: String,
    /// When its object was begun.
    pub(crate) object_at: Timestamp,
    /// Whether it arrived days after it happened.
    pub(crate) is_late: bool,
}

/// The lake.
#[derive(Debug)]
pub(crate) struct History {
    /// Every line, also the duplicates.
    pub(crate) delivered: Vec<Delivered>,
}

impl History {
    /// Makes the history.
    pub(crate) fn new() -> Self {
        let mut delivered = Vec::new();
        for account in 0..ACCOUNTS {
            for sequence in 1..=EVENTS {
                if account == ACCOUNTS - 1 && MISSING.contains(&sequence) {
                    continue;
                }
                let envelope = envelope(account, sequence);
                // Objects are begun each hour. The events of 23:50 of even accounts are in an object of the next day,
                // and those of 00:10 of odd accounts in one of the day before.
                let at = envelope.time.unix_millis() + HOUR / 3;
                let earlier = if account.is_multiple_of(2) {
                    0
                } else {
                    HOUR / 2
                };
                delivered.push(arrived(envelope, at - at % HOUR - earlier));
            }
        }
        // Account 2 has an event that arrived three days late.
        let late = delivered
            .iter_mut()
            .find(|it| it.envelope.subject.as_str() == id(2))
            .expect("an event");
        *late = Delivered {
            is_late: true,
            ..arrived(
                late.envelope.clone(),
                late.object_at.unix_millis() + 3 * DAY,
            )
        };
        // Duplicates on the same day, and on another day.
        for (index, later) in [(20, HOUR), (35, 2 * DAY), (35, 4 * DAY)] {
            let again = delivered[index].clone();
            let at = again.object_at.unix_millis() + later;
            delivered.push(arrived(again.envelope, at));
        }
        Self { delivered }
    }

    /// Each event once, by account and sequence.
    pub(crate) fn events(&self) -> BTreeMap<(&str, u64), &Envelope> {
        let events = self.delivered.iter().map(|it| &it.envelope);
        let events = events.map(|it| ((it.subject.as_str(), it.sequence.get()), it));
        events.collect()
    }

    /// The objects: the lines of each, by its key below the folder `events/`.
    pub(crate) fn objects(&self) -> BTreeMap<String, Vec<u8>> {
        let mut objects: BTreeMap<String, Vec<u8>> = BTreeMap::new();
        for Delivered {
            envelope,
            day,
            object_at,
            ..
        } in &self.delivered
        {
            let name = object_at.to_string()[..19].replace(['T', ':'], "-");
            let lines = objects
                .entry(format!(
                    "dt={day}/events-1-{name}-0e5bab83-270a-48ba-8eb6-bca6046a03cb"
                ))
                .or_default();
            lines.extend(envelope.to_bytes::<Accounts>().expect("encodes"));
            lines.push(b'\n');
        }
        let first = objects.values_mut().next().expect("an object");
        first.extend_from_slice(
            b"{\"specversion\":\"1.0\",\"id\":\"shardId-0:495\",\"source\":\"urn:millrace:archiver\",\
              \"type\":\"UnreadableRecord\",\"subject\":\"known-00\",\"data_base64\":\"AAo=\"}\n",
        );
        objects
    }

    /// How many lines the lake has of each event that it has more than once, and the days of the first and the last.
    pub(crate) fn duplicates(&self) -> BTreeMap<String, (usize, String, String)> {
        let mut days: BTreeMap<String, Vec<&str>> = BTreeMap::new();
        for it in &self.delivered {
            let id = format!("{}:{}", it.envelope.subject, it.envelope.sequence);
            days.entry(id).or_default().push(&it.day);
        }
        days.retain(|_, days| days.len() > 1);
        let of = |days: Vec<&str>| {
            let sorted: BTreeSet<_> = days.iter().collect();
            let (first, last) = (
                sorted.first().expect("a day"),
                sorted.last().expect("a day"),
            );
            (days.len(), (**first).to_string(), (**last).to_string())
        };
        days.into_iter().map(|(id, days)| (id, of(days))).collect()
    }
}

fn arrived(envelope: Envelope, at: i64) -> Delivered {
    let object_at = Timestamp::from_unix_millis(at).expect("a time");
    Delivered {
        envelope,
        day: object_at.to_string()[..10].to_owned(),
        object_at,
        is_late: false,
    }
}

pub(crate) fn id(account: usize) -> String {
    format!("known-{account:02}")
}

/// The account's event: an opening, and then credits, and withdrawals of both versions. Even accounts have a currency
/// with two decimals, odd ones a currency without decimals. Account 0 is credited with the largest amount.
fn envelope(account: usize, sequence: u64) -> Envelope {
    let code = if account.is_multiple_of(2) {
        "EUR"
    } else {
        "JPY"
    };
    let currency = Currency::stored(code).expect("a code");
    let number = i64::try_from(account).expect("few") + 1;
    let step = sequence.cast_signed();
    let largest = account == 0 && sequence == 2;
    let minor_units = match sequence {
        2 if largest => MAX_MINOR_UNITS,
        2 => 100_000 * number,
        _ if account == 0 => 1,
        _ => 7 * step + number,
    };
    let amount = Amount::new(minor_units).expect("an amount");
    let event = match sequence {
        1 => PublicEvent::AccountCreated { currency },
        sequence if sequence.is_multiple_of(3) => {
            PublicEvent::BalanceWithdrawn { amount, currency }
        }
        sequence if sequence.is_multiple_of(5) || (account == 0 && sequence > 2) => {
            PublicEvent::BalanceWithdrawn2 {
                amount,
                currency,
                channel: [Channel::Branch, Channel::Atm, Channel::Online][account % 3],
            }
        }
        _ => PublicEvent::BalanceCredited { amount, currency },
    };
    // An event each 17 hours and 10 minutes, so that some are shortly before or after midnight.
    let millis = START + step * (17 * HOUR + 10 * 60 * 1000) + number * 61_003;
    Envelope {
        subject: AggregateId::new(id(account)).expect("an id"),
        sequence: Sequence::new(sequence).expect("a sequence"),
        time: Timestamp::from_unix_millis(millis).expect("a time"),
        correlation_id: Some(format!("{}-{sequence}", id(account))),
        causation_id: None,
        trace_parent: None,
        event,
    }
}
