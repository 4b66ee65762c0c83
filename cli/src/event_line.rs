//! Formats a record of the domain stream as one line. Every writer with access to the stream determines its
//! content, so all of it is escaped before it reaches a terminal.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use millrace_archiver::line::UNREADABLE;
use serde_json::{Value, json};

use crate::application::Words;
use crate::output::{Format, Output};
use crate::terminal;

/// As text, an event's main members, or the escaped record if it isn't an event. As JSON, the published
/// event, or an object with the record in `data_base64`, as in the lake.
pub(crate) fn format(record: &[u8], output: Output) -> String {
    let event = serde_json::from_slice::<Value>(record)
        .ok()
        .filter(Value::is_object);
    let line = String::from_utf8_lossy(record);
    match (output.format, event) {
        (Format::Text, Some(envelope)) => members(&envelope, output.words),
        (Format::Text, None) => format!("not an event: {}", terminal::on_one_line(&line)),
        (Format::Json, Some(_)) => terminal::json(&line).into_owned(),
        (Format::Json, None) => {
            json!({ "type": UNREADABLE, "data_base64": STANDARD.encode(record) }).to_string()
        }
    }
}

fn members(envelope: &Value, words: Words) -> String {
    let text = |value: &Value| terminal::on_one_line(value.as_str().unwrap_or("?")).into_owned();
    let data = &envelope["data"];
    let mut line = vec![
        text(&envelope["time"]),
        format!("{:<16}", text(&envelope["type"])),
        text(&data[words.id]),
        format!(
            "#{}",
            data["sequence"]
                .as_i64()
                .map_or_else(|| "?".to_owned(), |it| it.to_string())
        ),
    ];
    line.push(values(data, words));
    line.join("  ").trim_end().to_owned()
}

/// The values of an event's data, except for the aggregate's id and the sequence.
pub(crate) fn values(data: &Value, words: Words) -> String {
    let mut own = data.as_object().cloned().unwrap_or_default();
    own.retain(|name, _| name != words.id && name != "sequence");
    let described = (words.describe)(&own).into_iter();
    let values = described.map(|(_, value)| terminal::on_one_line(&value).into_owned());
    values.collect::<Vec<_>>().join("  ")
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: Output = Output::of(Format::Text);
    const JSON: Output = Output::of(Format::Json);

    #[test]
    fn an_event_shows_time_type_id_sequence_and_the_domains_members() {
        let withdrawn = br#"{"specversion":"1.0","id":"a:7","source":"urn:millrace:accounts",
            "type":"BalanceWithdrawn","subject":"a","time":"2026-11-20T21:03:05.123Z",
            "data":{"accountId":"a","sequence":7,"amount":1000,"currency":"EUR"}}"#;
        assert_eq!(
            format(withdrawn, TEXT),
            "2026-11-20T21:03:05.123Z  BalanceWithdrawn  a  #7  1000  EUR"
        );
        let created = br#"{"type":"AccountCreated","time":"2026-11-20T21:03:05.123Z",
            "data":{"accountId":"a","sequence":1,"currency":"EUR"}}"#;
        assert_eq!(
            format(created, TEXT),
            "2026-11-20T21:03:05.123Z  AccountCreated    a  #1  EUR"
        );
    }

    #[test]
    fn a_record_that_is_no_event_is_shown_on_one_line() {
        assert_eq!(format(b"a\nb", TEXT), "not an event: a\\nb");
        assert_eq!(format(b"[1]", TEXT), "not an event: [1]");
        for record in [&b"a\nb"[..], b"[1]", b"{\xff}"] {
            let line: Value = serde_json::from_str(&format(record, JSON)).expect("JSON");
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
            // serde_json doesn't escape characters outside ASCII.
            let record = serde_json::to_vec_pretty(&event).expect("JSON");
            for output in [TEXT, JSON] {
                let line = format(&record, output);
                assert!(!line.contains(harmful), "{line:?}");
                assert!(!line.contains('\n'), "{line:?}");
            }
            let shown: Value = serde_json::from_str(&format(&record, JSON)).expect("JSON");
            assert_eq!(shown, event);
        }
    }
}
