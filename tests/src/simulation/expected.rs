//! What should have come of the events table's rows, worked out apart from the code under test: the
//! public bytes are put together as the contract is written down, the columns of the read models as
//! the layout is, and the balances added up.

use std::sync::Arc;

use millrace_core::{Attribute, Attributes, Timestamp, row};

use super::dynamodb::events::text;
use super::world::World;

/// The currency of an account whose rows don't name one.
pub(crate) const DEFAULT_CURRENCY: &str = "EUR";

/// An event as it should be known everywhere.
#[derive(Debug, Clone)]
pub(crate) struct Expected {
    pub(crate) sequence: u64,
    /// The type in the public contract.
    pub(crate) name: &'static str,
    /// In minor units; `None` for an opening.
    pub(crate) amount: Option<i64>,
    pub(crate) currency: String,
    pub(crate) bytes: Vec<u8>,
    pub(crate) time: Timestamp,
    /// The latest time of any event up to this one.
    pub(crate) effective_at: Timestamp,
    /// The balance after it.
    pub(crate) balance: i64,
    pub(crate) correlation_id: String,
}

/// An account's events up to the first that is missing or can't be read, and whether there is any
/// row that can't be published.
#[derive(Debug, Clone, Default)]
pub(crate) struct Account {
    pub(crate) events: Vec<Expected>,
    pub(crate) is_in_trouble: bool,
    /// Whether no later row can change it: one before is missing or can't be read.
    is_stopped: bool,
    /// The last row that it includes, in halves.
    pub(crate) through: u64,
}

/// Whether a row here is one of those that can be understood. Every way in which a stranger damages
/// a row is seen here by its shape alone.
pub(crate) fn is_readable(row: &Attributes) -> bool {
    let is_number = |name| matches!(row.get(name), Some(Attribute::Number(n)) if !n.contains('.'));
    let is_text = |name| matches!(row.get(name), Some(Attribute::Text(_)));
    let holds = match text(row, row::TYPE).as_str() {
        "CREATED" => true,
        "SNAPSHOT" => is_number("Balance"),
        "CREDIT" | "WITHDRAW" => is_number("Amount"),
        _ => false,
    };
    let version = text(row, row::VERSION).parse::<u64>();
    let sequence = text(row, "Sequence");
    holds
        && is_text(row::TYPE)
        && is_text("Timestamp")
        && version.is_ok_and(|version| {
            sequence.is_empty() || sequence == (version - (version + 8) / 10).to_string()
        })
        && matches!(text(row, "SchemaVersion").as_str(), "" | "1")
}

/// What should have come of an account. Rows that were folded before aren't folded again.
pub(crate) fn account(world: &World, id: &str) -> Arc<Account> {
    world.events.folded(id, |account, rows| {
        for (halves, row) in rows {
            if account.is_stopped {
                return;
            }
            account.fold(id, halves, row);
        }
    })
}

impl Account {
    fn fold(&mut self, id: &str, halves: u64, row: &Attributes) {
        self.through = halves;
        // A row between two places is no event's: it stops the account, wherever that finds it.
        if halves % 2 == 1 {
            self.is_in_trouble = true;
            return;
        }
        let next = u64::try_from(self.events.len()).expect("few") + 1;
        // Nine events stand between two snapshots; the first snapshot is row 2.
        let due = next + (next + 7) / 9;
        let version = text(row, row::VERSION);
        let is_snapshot = text(row, row::TYPE) == "SNAPSHOT";
        if !is_readable(row) || (!is_snapshot && version != due.to_string()) {
            self.is_in_trouble = true;
            self.is_stopped = true;
        } else if !is_snapshot {
            let event = expected(id, next, row, self.events.last());
            self.events.push(event);
        }
    }

    /// The account's currency; the default where nothing is known of it.
    pub(crate) fn currency(&self) -> &str {
        self.events
            .first()
            .map_or(DEFAULT_CURRENCY, |event| &event.currency)
    }
}

fn expected(id: &str, sequence: u64, row: &Attributes, before: Option<&Expected>) -> Expected {
    let moved: i64 = text(row, "Amount").parse().unwrap_or(0);
    let (name, amount, moved) = match text(row, row::TYPE).as_str() {
        "CREATED" => ("AccountCreated", None, 0),
        "CREDIT" => ("BalanceCredited", Some(moved), moved),
        _ => ("BalanceWithdrawn", Some(moved), -moved),
    };
    let currency = match before {
        Some(before) => before.currency.clone(),
        None if text(row, "Currency").is_empty() => DEFAULT_CURRENCY.to_owned(),
        None => text(row, "Currency"),
    };
    let time = Timestamp::parse(&text(row, "Timestamp")).expect("a readable row");
    let correlation_id = text(row, "CorrelationId");
    let causation_id = text(row, "CausationId");
    let trace: String = [
        ("correlationid", &correlation_id),
        ("causationid", &causation_id),
    ]
    .iter()
    .filter(|(_, value)| !value.is_empty())
    .flat_map(|(member, value)| ["\"", member, "\":\"", value, "\","])
    .collect();
    let amount_member = amount.map_or_else(String::new, |amount| format!(r#""amount":{amount},"#));
    let bytes = format!(
        r#"{{"specversion":"1.0","id":"{id}:{sequence}","source":"urn:millrace:accounts","type":"{name}","subject":"{id}","time":"{time}","datacontenttype":"application/json","dataschema":"urn:millrace:schema:{name}:1",{trace}"data":{{"accountId":"{id}","sequence":{sequence},{amount_member}"currency":"{currency}"}}}}"#
    );
    Expected {
        sequence,
        name,
        amount,
        currency,
        bytes: bytes.into_bytes(),
        time,
        effective_at: before.map_or(time, |before| before.effective_at.max(time)),
        balance: before.map_or(0, |before| before.balance) + moved,
        correlation_id,
    }
}

fn item(columns: &[(&str, Attribute)]) -> Attributes {
    let columns = columns.iter().cloned();
    columns
        .map(|(name, value)| (name.to_owned(), value))
        .collect()
}

/// The columns of a view that includes these events; `None` where there are none.
pub(crate) fn view(id: &str, events: &[Expected]) -> Option<Attributes> {
    let (first, last) = (events.first()?, events.last()?);
    Some(item(&[
        ("Id", Attribute::text(id)),
        ("Sequence", Attribute::number(last.sequence)),
        ("Currency", Attribute::text(&last.currency)),
        ("Balance", Attribute::number(last.balance)),
        ("OpenedAt", Attribute::text(first.time)),
        ("UpdatedAt", Attribute::text(last.effective_at)),
    ]))
}

/// The columns of an event's history item.
pub(crate) fn history_item(id: &str, event: &Expected) -> Attributes {
    let mut columns = item(&[
        ("Id", Attribute::text(id)),
        ("Sequence", Attribute::number(event.sequence)),
        ("Type", Attribute::text(event.name)),
        ("Balance", Attribute::number(event.balance)),
        ("Currency", Attribute::text(&event.currency)),
        ("Time", Attribute::text(event.time)),
        ("EffectiveAt", Attribute::text(event.effective_at)),
    ]);
    if let Some(amount) = event.amount {
        columns.insert("Amount".to_owned(), Attribute::number(amount));
    }
    if !event.correlation_id.is_empty() {
        let id = Attribute::text(&event.correlation_id);
        columns.insert("CorrelationId".to_owned(), id);
    }
    columns
}

/// The sequence that an event's `id` tells.
pub(crate) fn sequence_in(data: &[u8]) -> Option<u64> {
    let text = std::str::from_utf8(data).ok()?;
    let (_, behind) = text.split_once(r#""id":""#)?;
    let (id, _) = behind.split_once('"')?;
    id.rsplit_once(':')?.1.parse().ok()
}
