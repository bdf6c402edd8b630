//! `history.edn`: the history as Jepsen, Knossos and Elle read it.

use std::fmt::Write as _;

use serde_json::Value;

use crate::history::{Event, FaultWindow};

/// A vector of operations, one a line; faults are the nemesis's.
pub(super) fn history(events: &[Event]) -> anyhow::Result<String> {
    let mut text = "[\n".to_owned();
    let mut faults: Vec<&FaultWindow> = Vec::new();
    for event in events {
        match event {
            Event::Invoke { .. } | Event::Ok { .. } | Event::Fail { .. } | Event::Info { .. } => {
                put(&mut text, &serde_json::to_value(event)?);
                text.push('\n');
            }
            Event::Fault { fault } => faults.push(fault),
            // What is not an operation has no place there.
            Event::Meta(_) | Event::Phase { .. } | Event::Final { .. } => {}
        }
    }
    for fault in faults {
        for (time, f) in [(fault.began, "start"), (fault.ended, "stop")] {
            let _ = write!(
                text,
                "{{:type :info, :process :nemesis, :f :{f}-{}, :time {time}, :value ",
                fault.name
            );
            put(&mut text, &Value::from(fault.evidence.clone()));
            text.push_str("}\n");
        }
    }
    text.push_str("]\n");
    Ok(text)
}

fn put(text: &mut String, value: &Value) {
    match value {
        Value::Null => text.push_str("nil"),
        Value::Bool(_) | Value::Number(_) | Value::String(_) => text.push_str(&value.to_string()),
        Value::Array(items) => {
            text.push('[');
            for (place, item) in items.iter().enumerate() {
                text.push_str(if place == 0 { "" } else { " " });
                put(text, item);
            }
            text.push(']');
        }
        Value::Object(fields) => {
            text.push('{');
            for (place, (name, value)) in fields.iter().enumerate() {
                text.push_str(if place == 0 { "" } else { ", " });
                let _ = write!(text, ":{} ", name.replace('_', "-"));
                match value {
                    Value::String(word) if name == "type" || name == "f" => {
                        let _ = write!(text, ":{word}");
                    }
                    Value::Null
                    | Value::Bool(_)
                    | Value::Number(_)
                    | Value::String(_)
                    | Value::Array(_)
                    | Value::Object(_) => put(text, value),
                }
            }
            text.push('}');
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::history::Call;

    #[test]
    fn an_operation_is_as_jepsen_writes_it() {
        let call = Call::Transfer { id: "t1".into(), from: "a".into(), to: "b".into(), amount: 5 };
        let text = history(&[Event::Invoke { process: 3, time: 1, index: 0, call }]).unwrap();
        for part in
            [":type :invoke", ":f :transfer", ":process 3", ":value {", ":from \"a\"", ":amount 5"]
        {
            assert!(text.contains(part), "{part}: {text}");
        }
    }
}
