//! What Kombu and Celery 5.7 wrote, as recorded in `tests/fixtures/kombu-5.7`.

use std::path::Path;

use serde_json::Value as JsonValue;

/// Returns the fixture `name`.
pub fn read(name: &str) -> JsonValue {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fixtures/kombu-5.7");
    let text = std::fs::read_to_string(folder.join(format!("{name}.json"))).unwrap();
    serde_json::from_str(&text).unwrap()
}

/// Returns the entries of the fixture `name`.
pub fn entries(name: &str) -> Vec<JsonValue> {
    read(name)["entries"].as_array().unwrap().clone()
}

/// Returns a recorded envelope as JSON; it must be JSON that every reader takes.
#[track_caller]
pub fn envelope(raw: &str) -> JsonValue {
    serde_json::from_str(raw).unwrap()
}
