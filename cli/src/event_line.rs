//! A domain event on one line, for people to follow.

use serde_json::Value;

/// Reads a record of the stream; whatever isn't an event shows as it is.
pub(crate) fn format(record: &[u8]) -> String {
    match serde_json::from_slice::<Value>(record) {
        Ok(envelope) if envelope.is_object() => event(&envelope),
        _ => format!(
            "not an event: {}",
            String::from_utf8_lossy(record).escape_debug()
        ),
    }
}

fn event(envelope: &Value) -> String {
    let text = |value: &Value| value.as_str().unwrap_or("?").to_owned();
    let data = &envelope["data"];
    let mut line = vec![
        text(&envelope["time"]),
        format!("{:<16}", text(&envelope["type"])),
        text(&data["accountId"]),
        format!("#{}", data["sequence"]),
    ];
    line.extend(data["amount"].as_i64().map(|amount| amount.to_string()));
    line.extend(data["currency"].as_str().map(str::to_owned));
    line.join("  ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_shows_time_type_account_sequence_and_amount() {
        let withdrawn = br#"{"specversion":"1.0","id":"a:7","source":"urn:millrace:accounts",
            "type":"BalanceWithdrawn","subject":"a","time":"2026-11-20T21:03:05.123Z",
            "data":{"accountId":"a","sequence":7,"amount":1000,"currency":"EUR"}}"#;
        assert_eq!(
            format(withdrawn),
            "2026-11-20T21:03:05.123Z  BalanceWithdrawn  a  #7  1000  EUR"
        );
        let created = br#"{"type":"AccountCreated","time":"2026-11-20T21:03:05.123Z",
            "data":{"accountId":"a","sequence":1,"currency":"EUR"}}"#;
        assert_eq!(
            format(created),
            "2026-11-20T21:03:05.123Z  AccountCreated    a  #1  EUR"
        );
    }

    #[test]
    fn what_is_no_event_shows_on_one_line_too() {
        assert_eq!(format(b"a\nb"), "not an event: a\\nb");
        assert_eq!(format(b"[1]"), "not an event: [1]");
    }
}
