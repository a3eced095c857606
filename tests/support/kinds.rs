//! What the drivers of npm sockhop 1.8.4 say of callbacks with every kind of value.

use serde_json::Value;

/// Kinds of values that their client sends.
pub(crate) const OF_CLIENT: usize = 42;

/// Every answer is what was asked and of the same type; only a buffer comes as its base64 text, as 2.x sends it to 1.x.
pub(crate) fn assert_kinds(answers: &Value, count: usize) {
    let answers = answers.as_array().unwrap();
    assert_eq!(answers.len(), count);
    for answer in answers {
        assert_eq!(answer["type"], answer["sent_type"], "{answer}");
        match answer["kind"].as_str().unwrap() {
            "buffer" => assert_eq!(answer["data"], "AAECCg3+/w==", "{answer}"),
            "empty buffer" => assert_eq!(answer["data"], "", "{answer}"),
            _ => assert_eq!(answer["equal"], true, "{answer}"),
        }
    }
}
