//! Commands: the text behind attributes, the reply that is expected, statement ids.
#![no_main]

use libfuzzer_sys::fuzz_target;
use tidegate_fuzz::wire::command;

fuzz_target!(|data: &[u8]| {
    let Some((code, payload)) = data.split_first() else { return };
    let _ = command::shape(*code, payload);
    let _ = command::statement_id(payload);
    for has_attributes in [false, true] {
        if let Some(text) = command::sql_text(payload, has_attributes) {
            assert!(payload.ends_with(text), "the text is the end of the payload");
        }
    }
});
