//! The read model: an account as queries show it, and its transaction history.
//!
//! Both are folds of the public events alone, so any consumer can build the same. Which event may
//! be applied next is the projector's business; here, the event given is taken to be the next.

use serde::Serialize;

use crate::account::{Event, State, evolve};
use crate::attribute::{Attribute, Attributes};
use crate::envelope::Envelope;
use crate::ids::AggregateId;
use crate::layout::Sequence;
use crate::money::{Amount, Balance, Currency};
use crate::row::RowError;
use crate::time::Timestamp;

/// The hash key of both tables.
pub const ID: &str = "Id";
/// The view's sequence, and the range key of the history.
pub const SEQUENCE: &str = "Sequence";
const CURRENCY: &str = "Currency";
const BALANCE: &str = "Balance";
const AMOUNT: &str = "Amount";
const TYPE: &str = "Type";
const TIME: &str = "Time";
const EFFECTIVE_AT: &str = "EffectiveAt";
const OPENED_AT: &str = "OpenedAt";
const UPDATED_AT: &str = "UpdatedAt";
const CORRELATION_ID: &str = "CorrelationId";

/// An account at one sequence.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct View {
    /// Whose view it is.
    #[serde(rename = "accountId")]
    pub id: AggregateId,
    /// The account's currency.
    pub currency: Currency,
    /// The balance after the event at `sequence`.
    pub balance: Balance,
    /// The last event that it includes.
    pub sequence: Sequence,
    /// The time of the first event.
    pub opened_at: Timestamp,
    /// The latest time of any event up to `sequence`.
    pub updated_at: Timestamp,
}

/// One line of the transaction history.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct HistoryEntry {
    /// Whose line it is.
    #[serde(skip)]
    pub id: AggregateId,
    /// The event's place in the account's history.
    pub sequence: Sequence,
    /// The event's type.
    #[serde(rename = "type")]
    pub event_type: String,
    /// How much moved; none for an opening.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub amount: Option<Amount>,
    /// The balance after the event.
    pub balance: Balance,
    /// The account's currency.
    pub currency: Currency,
    /// When the event happened.
    pub time: Timestamp,
    /// From when on the balance counts: the latest time of any event up to this one. It never runs
    /// backwards along the sequence, so the balance at a time can be searched for.
    #[serde(skip)]
    pub effective_at: Timestamp,
    /// The conversation that the event belongs to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub correlation_id: Option<String>,
}

/// What `GET …/transactions` answers with: some lines, newest first, and where to go on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct HistoryPage {
    account_id: AggregateId,
    transactions: Vec<HistoryEntry>,
    #[serde(skip_serializing_if = "Option::is_none")]
    next: Option<Sequence>,
}

/// What `GET …/balance?at=` answers with.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ValueAt {
    account_id: AggregateId,
    currency: Currency,
    balance: Balance,
    sequence: Sequence,
    at: Timestamp,
}

impl View {
    /// The view and the history line after `envelope`, the event that comes next.
    #[must_use]
    pub fn apply(before: Option<&Self>, envelope: &Envelope) -> (Self, HistoryEntry) {
        let state = before.map_or(State::Unopened, |view| State::Open {
            currency: view.currency,
            balance: view.balance,
        });
        let (currency, balance) = match evolve(state, &envelope.event) {
            State::Open { currency, balance } => (currency, balance),
            State::Unopened => (envelope.currency, Balance::ZERO),
        };
        let updated_at = before.map_or(envelope.time, |view| view.updated_at.max(envelope.time));
        let view = Self {
            id: envelope.subject.clone(),
            currency,
            balance,
            sequence: envelope.sequence,
            opened_at: before.map_or(envelope.time, |view| view.opened_at),
            updated_at,
        };
        let entry = HistoryEntry {
            id: envelope.subject.clone(),
            sequence: envelope.sequence,
            event_type: envelope.type_name().to_owned(),
            amount: match envelope.event {
                Event::AccountCreated { .. } => None,
                Event::BalanceCredited { amount } | Event::BalanceWithdrawn { amount } => {
                    Some(amount)
                }
            },
            balance,
            currency,
            time: envelope.time,
            effective_at: updated_at,
            correlation_id: envelope.correlation_id.clone(),
        };
        (view, entry)
    }

    /// The account's balance as of `at`, no earlier than `updated_at`.
    #[must_use]
    pub fn value_at(&self, at: Timestamp) -> ValueAt {
        ValueAt {
            account_id: self.id.clone(),
            currency: self.currency,
            balance: self.balance,
            sequence: self.sequence,
            at,
        }
    }

    /// The view's item.
    #[must_use]
    pub fn to_attributes(&self) -> Attributes {
        item([
            (ID, Attribute::text(&self.id)),
            (SEQUENCE, Attribute::number(self.sequence.get())),
            (CURRENCY, Attribute::text(self.currency)),
            (BALANCE, Attribute::number(self.balance.minor_units())),
            (OPENED_AT, Attribute::text(self.opened_at)),
            (UPDATED_AT, Attribute::text(self.updated_at)),
        ])
    }

    /// Reads a view's item. An item of sequence 0 is no view yet: it marks an account of which
    /// nothing could be applied.
    ///
    /// # Errors
    /// [`RowError`] that names the attribute which is missing or wrong.
    pub fn read(item: &Attributes) -> Result<Option<Self>, RowError> {
        let reader = Reader(item);
        let sequence = reader.sequence()?;
        if sequence == Sequence::NONE {
            return Ok(None);
        }
        Ok(Some(Self {
            id: reader.id()?,
            currency: reader.currency()?,
            balance: reader.balance()?,
            sequence,
            opened_at: reader.time(OPENED_AT)?,
            updated_at: reader.time(UPDATED_AT)?,
        }))
    }
}

impl HistoryEntry {
    /// The line's item.
    #[must_use]
    pub fn to_attributes(&self) -> Attributes {
        let mut attributes = item([
            (ID, Attribute::text(&self.id)),
            (SEQUENCE, Attribute::number(self.sequence.get())),
            (TYPE, Attribute::text(&self.event_type)),
            (BALANCE, Attribute::number(self.balance.minor_units())),
            (CURRENCY, Attribute::text(self.currency)),
            (TIME, Attribute::text(self.time)),
            (EFFECTIVE_AT, Attribute::text(self.effective_at)),
        ]);
        if let Some(amount) = self.amount {
            attributes.insert(AMOUNT.to_owned(), Attribute::number(amount.minor_units()));
        }
        if let Some(id) = &self.correlation_id {
            attributes.insert(CORRELATION_ID.to_owned(), Attribute::text(id));
        }
        attributes
    }

    /// Reads a line's item.
    ///
    /// # Errors
    /// [`RowError`] that names the attribute which is missing or wrong.
    pub fn read(item: &Attributes) -> Result<Self, RowError> {
        let reader = Reader(item);
        Ok(Self {
            id: reader.id()?,
            sequence: reader.sequence()?,
            event_type: reader.text(TYPE)?.to_owned(),
            amount: reader.amount()?,
            balance: reader.balance()?,
            currency: reader.currency()?,
            time: reader.time(TIME)?,
            effective_at: reader.time(EFFECTIVE_AT)?,
            correlation_id: item
                .contains_key(CORRELATION_ID)
                .then(|| reader.text(CORRELATION_ID).map(str::to_owned))
                .transpose()?,
        })
    }

    /// The account's balance as of `at`, which this line, the last one effective by then, tells.
    #[must_use]
    pub fn value_at(&self, at: Timestamp) -> ValueAt {
        ValueAt {
            account_id: self.id.clone(),
            currency: self.currency,
            balance: self.balance,
            sequence: self.sequence,
            at,
        }
    }
}

impl HistoryPage {
    /// A page of an account's history, newest line first; the next page has the lines before `next`.
    #[must_use]
    pub const fn new(
        id: AggregateId,
        newest_first: Vec<HistoryEntry>,
        next: Option<Sequence>,
    ) -> Self {
        Self {
            account_id: id,
            transactions: newest_first,
            next,
        }
    }
}

fn item<const N: usize>(attributes: [(&str, Attribute); N]) -> Attributes {
    attributes
        .map(|(name, value)| (name.to_owned(), value))
        .into()
}

struct Reader<'a>(&'a Attributes);

impl<'a> Reader<'a> {
    fn text(&self, name: &'static str) -> Result<&'a str, RowError> {
        match self.0.get(name) {
            Some(Attribute::Text(text)) => Ok(text),
            _ => Err(RowError::new(name, "is missing or not of type S")),
        }
    }

    fn integer(&self, name: &'static str) -> Result<i64, RowError> {
        self.0
            .get(name)
            .and_then(Attribute::as_integer)
            .ok_or_else(|| RowError::new(name, "is missing or not a whole number"))
    }

    fn id(&self) -> Result<AggregateId, RowError> {
        AggregateId::new(self.text(ID)?).map_err(|error| RowError::new(ID, error))
    }

    fn sequence(&self) -> Result<Sequence, RowError> {
        u64::try_from(self.integer(SEQUENCE)?)
            .ok()
            .and_then(Sequence::new)
            .ok_or_else(|| RowError::new(SEQUENCE, "is not a sequence"))
    }

    fn currency(&self) -> Result<Currency, RowError> {
        Currency::stored(self.text(CURRENCY)?).map_err(|error| RowError::new(CURRENCY, error))
    }

    fn balance(&self) -> Result<Balance, RowError> {
        Balance::new(self.integer(BALANCE)?)
            .ok_or_else(|| RowError::new(BALANCE, "lies beyond 2^53-1 minor units"))
    }

    fn amount(&self) -> Result<Option<Amount>, RowError> {
        if !self.0.contains_key(AMOUNT) {
            return Ok(None);
        }
        Amount::new(self.integer(AMOUNT)?)
            .map(Some)
            .map_err(|error| RowError::new(AMOUNT, error))
    }

    fn time(&self, name: &'static str) -> Result<Timestamp, RowError> {
        Timestamp::parse(self.text(name)?).map_err(|error| RowError::new(name, error))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::attribute::any_attribute;

    fn envelope(sequence: u64, time: &str, event: Event) -> Envelope {
        Envelope {
            subject: AggregateId::new("a").expect("valid"),
            sequence: Sequence::new(sequence).expect("valid"),
            time: Timestamp::parse(time).expect("valid"),
            correlation_id: (sequence == 2).then(|| "c".to_owned()),
            causation_id: None,
            currency: Currency::stored("EUR").expect("valid"),
            event,
        }
    }

    fn history() -> Vec<(View, HistoryEntry)> {
        let currency = Currency::stored("EUR").expect("valid");
        let amount = |n| Amount::new(n).expect("valid");
        let events = [
            envelope(
                1,
                "2026-01-01T10:00:00Z",
                Event::AccountCreated { currency },
            ),
            envelope(
                2,
                "2026-01-01T12:00:00Z",
                Event::BalanceCredited { amount: amount(9) },
            ),
            envelope(
                3,
                "2026-01-01T11:00:00Z",
                Event::BalanceWithdrawn { amount: amount(4) },
            ),
        ];
        let mut applied: Vec<(View, HistoryEntry)> = Vec::new();
        for event in &events {
            let next = View::apply(applied.last().map(|(view, _)| view), event);
            applied.push(next);
        }
        applied
    }

    #[test]
    fn a_view_is_the_fold_of_the_events() {
        let (view, _) = history().pop().expect("three events");
        assert_eq!(
            serde_json::to_value(&view).expect("serialises"),
            serde_json::json!({
                "accountId": "a", "currency": "EUR", "balance": 5, "sequence": 3,
                "openedAt": "2026-01-01T10:00:00.000Z", "updatedAt": "2026-01-01T12:00:00.000Z",
            })
        );
    }

    #[test]
    fn effective_times_never_run_backwards() {
        let entries: Vec<HistoryEntry> = history().into_iter().map(|(_, entry)| entry).collect();
        assert!(entries.is_sorted_by_key(|entry| entry.effective_at));
        assert_eq!(entries[2].time.to_string(), "2026-01-01T11:00:00.000Z");
        assert_eq!(entries[2].effective_at, entries[1].effective_at);
    }

    #[test]
    fn a_view_and_its_last_line_tell_the_same_value() {
        for (view, entry) in history() {
            assert_eq!(
                view.value_at(view.updated_at),
                entry.value_at(view.updated_at)
            );
        }
    }

    #[test]
    fn a_page_shows_its_lines_newest_first_and_where_to_go_on() {
        let entry = |place: usize| history()[place].1.clone();
        let id = || AggregateId::new("a").expect("valid");
        let page = HistoryPage::new(id(), vec![entry(1), entry(0)], Sequence::new(1));
        assert_eq!(
            serde_json::to_value(page).expect("serialises"),
            serde_json::json!({
                "accountId": "a",
                "transactions": [
                    {"sequence": 2, "type": "BalanceCredited", "amount": 9, "balance": 9,
                     "currency": "EUR", "time": "2026-01-01T12:00:00.000Z", "correlationId": "c"},
                    {"sequence": 1, "type": "AccountCreated", "balance": 0,
                     "currency": "EUR", "time": "2026-01-01T10:00:00.000Z"},
                ],
                "next": 1,
            })
        );
        let last = HistoryPage::new(id(), Vec::new(), None);
        assert_eq!(
            serde_json::to_value(last).expect("serialises"),
            serde_json::json!({"accountId": "a", "transactions": []})
        );
    }

    #[test]
    fn items_are_read_back() {
        for (view, entry) in history() {
            assert_eq!(View::read(&view.to_attributes()), Ok(Some(view)));
            assert_eq!(HistoryEntry::read(&entry.to_attributes()), Ok(entry));
        }
    }

    #[test]
    fn an_item_of_sequence_0_is_no_view_yet() {
        let stub = item([(ID, Attribute::text("a")), (SEQUENCE, Attribute::number(0))]);
        assert_eq!(View::read(&stub), Ok(None));
    }

    #[test]
    fn every_attribute_that_is_missing_or_wrong_is_named() {
        let (view, entry) = history().pop().expect("three events");
        for name in view.to_attributes().keys() {
            let mut item = view.to_attributes();
            item.insert(name.clone(), Attribute::Other("NULL"));
            assert_eq!(View::read(&item).expect_err(name).attribute, name);
        }
        for name in entry.to_attributes().keys() {
            let mut item = entry.to_attributes();
            item.insert(name.clone(), Attribute::Other("NULL"));
            assert_eq!(HistoryEntry::read(&item).expect_err(name).attribute, name);
        }
    }

    proptest! {
        #[test]
        fn no_item_panics_and_what_is_understood_is_written_back(
            of in 0_usize..3,
            changes in prop::collection::vec((prop::sample::select(vec![
                ID, SEQUENCE, CURRENCY, BALANCE, AMOUNT, TYPE, TIME, EFFECTIVE_AT, OPENED_AT, UPDATED_AT,
            ]), proptest::option::of(any_attribute())), 0..4),
        ) {
            let (view, line) = history().remove(of);
            let (mut view, mut line) = (view.to_attributes(), line.to_attributes());
            for (name, value) in changes {
                for item in [&mut view, &mut line] {
                    match value.clone() {
                        Some(value) => item.insert(name.to_owned(), value),
                        None => item.remove(name),
                    };
                }
            }
            if let Ok(Some(view)) = View::read(&view) {
                prop_assert_eq!(View::read(&view.to_attributes()), Ok(Some(view)));
            }
            if let Ok(line) = HistoryEntry::read(&line) {
                prop_assert_eq!(HistoryEntry::read(&line.to_attributes()), Ok(line));
            }
        }
    }
}
