//! What should have come of the events table's rows, worked out apart from the code under test: the
//! public bytes are put together as the contract is written down, and the balances added up.

use millrace_domain::{Attribute, Attributes, Timestamp, row};

use super::dynamodb::events::text;
use super::world::World;

/// An event as it should be known everywhere.
#[derive(Debug, Clone)]
pub(crate) struct Expected {
    pub(crate) sequence: u64,
    pub(crate) bytes: Vec<u8>,
    pub(crate) time: Timestamp,
    /// The balance after it.
    pub(crate) balance: i64,
    pub(crate) correlation_id: String,
}

/// An account's events up to the first that is missing or can't be read, and whether there is any
/// row that can't be published.
#[derive(Debug)]
pub(crate) struct Account {
    pub(crate) events: Vec<Expected>,
    pub(crate) is_in_trouble: bool,
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

/// What should have come of an account.
pub(crate) fn account(world: &World, id: &str) -> Account {
    let mut events: Vec<Expected> = Vec::new();
    let mut currency = String::new();
    let mut is_in_trouble = false;
    for (halves, row) in world.events.of(id) {
        // A row between two places is no event's: it stops the account, wherever that finds it.
        if halves % 2 == 1 {
            is_in_trouble = true;
            continue;
        }
        let next = u64::try_from(events.len()).expect("few") + 1;
        // Nine events stand between two snapshots; the first snapshot is row 2.
        let due = next + (next + 7) / 9;
        let version = text(row, row::VERSION);
        let is_snapshot = text(row, row::TYPE) == "SNAPSHOT";
        if !is_readable(row) || (!is_snapshot && version != due.to_string()) {
            is_in_trouble = true;
            break;
        }
        if is_snapshot {
            continue;
        }
        if next == 1 {
            currency = match text(row, "Currency") {
                none if none.is_empty() => "EUR".to_owned(),
                some => some,
            };
        }
        let before = events.last().map_or(0, |event| event.balance);
        events.push(expected(id, next, row, &currency, before));
    }
    Account {
        events,
        is_in_trouble,
    }
}

fn expected(id: &str, sequence: u64, row: &Attributes, currency: &str, before: i64) -> Expected {
    let amount: i64 = text(row, "Amount").parse().unwrap_or(0);
    let (name, moved) = match text(row, row::TYPE).as_str() {
        "CREATED" => ("AccountCreated", 0),
        "CREDIT" => ("BalanceCredited", amount),
        _ => ("BalanceWithdrawn", -amount),
    };
    let time = Timestamp::parse(&text(row, "Timestamp")).expect("a readable row");
    let correlation_id = text(row, "CorrelationId");
    let trace: String = [
        ("correlationid", &correlation_id),
        ("causationid", &text(row, "CausationId")),
    ]
    .iter()
    .filter(|(_, value)| !value.is_empty())
    .flat_map(|(member, value)| ["\"", member, "\":\"", value, "\","])
    .collect();
    let amount = if sequence == 1 {
        String::new()
    } else {
        format!(r#""amount":{amount},"#)
    };
    let bytes = format!(
        r#"{{"specversion":"1.0","id":"{id}:{sequence}","source":"urn:millrace:accounts","type":"{name}","subject":"{id}","time":"{time}","datacontenttype":"application/json","dataschema":"urn:millrace:schema:{name}:1",{trace}"data":{{"accountId":"{id}","sequence":{sequence},{amount}"currency":"{currency}"}}}}"#
    );
    Expected {
        sequence,
        bytes: bytes.into_bytes(),
        time,
        balance: before + moved,
        correlation_id,
    }
}

/// The sequence that an event's `id` tells.
pub(crate) fn sequence_in(data: &[u8]) -> Option<u64> {
    let text = std::str::from_utf8(data).ok()?;
    let (_, behind) = text.split_once(r#""id":""#)?;
    let (id, _) = behind.split_once('"')?;
    id.rsplit_once(':')?.1.parse().ok()
}
