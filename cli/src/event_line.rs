//! A record of the domain stream on one line, to follow. Anyone who may write to the stream decides
//! what it contains, so nothing of it reaches a terminal unescaped.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use millrace_archiver::line::UNREADABLE;
use serde_json::{Value, json};

use crate::output::Output;
use crate::terminal;

/// For people, an event's main members, or the record escaped. For programs, the event as it was
/// published, or an object with the record in `data_base64`, as in the lake.
pub(crate) fn format(record: &[u8], output: Output) -> String {
    let event = serde_json::from_slice::<Value>(record)
        .ok()
        .filter(Value::is_object);
    let line = String::from_utf8_lossy(record);
    match (output, event) {
        (Output::Text, Some(envelope)) => members(&envelope),
        (Output::Text, None) => format!("not an event: {}", terminal::on_one_line(&line)),
        (Output::Json, Some(_)) => terminal::json(&line).into_owned(),
        (Output::Json, None) => {
            json!({ "type": UNREADABLE, "data_base64": STANDARD.encode(record) }).to_string()
        }
    }
}

fn members(envelope: &Value) -> String {
    let text = |value: &Value| terminal::on_one_line(value.as_str().unwrap_or("?")).into_owned();
    let data = &envelope["data"];
    let mut line = vec![
        text(&envelope["time"]),
        format!("{:<16}", text(&envelope["type"])),
        text(&data["accountId"]),
        format!(
            "#{}",
            data["sequence"]
                .as_i64()
                .map_or_else(|| "?".to_owned(), |it| it.to_string())
        ),
    ];
    line.extend(data["amount"].as_i64().map(|amount| amount.to_string()));
    line.extend(
        data["currency"]
            .is_string()
            .then(|| text(&data["currency"])),
    );
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
            format(withdrawn, Output::Text),
            "2026-11-20T21:03:05.123Z  BalanceWithdrawn  a  #7  1000  EUR"
        );
        let created = br#"{"type":"AccountCreated","time":"2026-11-20T21:03:05.123Z",
            "data":{"accountId":"a","sequence":1,"currency":"EUR"}}"#;
        assert_eq!(
            format(created, Output::Text),
            "2026-11-20T21:03:05.123Z  AccountCreated    a  #1  EUR"
        );
    }

    #[test]
    fn what_is_no_event_shows_on_one_line_too() {
        assert_eq!(format(b"a\nb", Output::Text), "not an event: a\\nb");
        assert_eq!(format(b"[1]", Output::Text), "not an event: [1]");
        for record in [&b"a\nb"[..], b"[1]", b"{\xff}"] {
            let line: Value = serde_json::from_str(&format(record, Output::Json)).expect("JSON");
            let data = STANDARD.encode(record);
            assert_eq!(
                line,
                json!({ "type": "UnreadableRecord", "data_base64": data })
            );
        }
    }

    #[test]
    fn no_member_of_an_event_controls_a_terminal() {
        let members = ["time", "type", "accountId", "sequence", "currency"];
        for harmful in ["\u{1b}[2J", "\n", "\u{9b}", "\u{202e}"] {
            let data: Value = members
                .iter()
                .map(|it| ((*it).to_owned(), Value::from(harmful)))
                .collect();
            let event = json!({ "time": harmful, "type": harmful, "data": data, harmful: harmful });
            // Characters outside ASCII are as they are in the JSON.
            let record = serde_json::to_vec_pretty(&event).expect("JSON");
            for output in [Output::Text, Output::Json] {
                let line = format(&record, output);
                assert!(!line.contains(harmful), "{line:?}");
                assert!(!line.contains('\n'), "{line:?}");
            }
            let shown: Value = serde_json::from_str(&format(&record, Output::Json)).expect("JSON");
            assert_eq!(shown, event);
        }
    }
}
