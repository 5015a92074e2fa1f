//! Files that are no plugins, and components of other worlds: each is refused with one message that says why.

use serde_json::json;

use super::wat::{self, Guest};
use super::{complaint, file};

/// The message about a component in tests/plugins.
fn refused(name: &str) -> String {
    let (option, message) = complaint(&file(&format!("tests/plugins/{name}.wasm")), json!({}));
    assert_eq!(option, "plugin");
    message
}

/// The message about a file with these bytes.
fn refused_bytes(bytes: &[u8]) -> String {
    let digest = ruminate_flow::digest::Digest::of(bytes);
    crate::host::Plugin::load(digest, &|| Ok(bytes.to_vec())).err().map(|error| error.to_string()).unwrap_or_default()
}

#[test]
fn what_is_no_component_is_named() {
    assert_eq!(refused_bytes(b""), "the plugin file is empty: expected a WebAssembly component");
    assert_eq!(
        refused_bytes(b"hello\nworld"),
        "the plugin file is not a WebAssembly component: it begins with `hello\\nwo`"
    );
    assert_eq!(refused_bytes(b"\0asm"), "the plugin file is damaged: it ends within its header");
    assert_eq!(
        refused_bytes(b"\0asm\x01\0\0\0"),
        "the plugin file is a core WebAssembly module, not a component: `ruminate plugin build` makes one from a \
         plugin's folder"
    );
    let whole = std::fs::read(file("plugins/max-words.wasm")).expect("the plugin is there");
    for length in [8, 9, 100, 3000, whole.len() / 2, whole.len() - 1] {
        let message = refused_bytes(&whole[..length]);
        assert!(!message.is_empty() && !message.contains('\n'), "{length} bytes: {message}");
    }
    let message = refused_bytes(&whole[..3000]);
    assert!(message.starts_with("the plugin file is damaged or not valid: "), "{message}");
}

#[test]
fn a_file_that_is_gone_is_named() {
    let (option, message) = complaint(&file("plugins/gone.wasm"), json!({}));
    assert_eq!(option, "plugin");
    assert!(message.starts_with("cannot read `") && message.contains("plugins/gone.wasm"), "{message}");
}

#[test]
fn worlds_that_are_not_ours_are_refused() {
    let lifecycle = "`ruminate:plugin/lifecycle@0.1.0`";
    // A fixture without code: of a world that is ours, it fails when it is started.
    assert_eq!(refused("reward"), "the plugin cannot be started: plugin trapped: it aborted without a message");
    assert_eq!(
        refused("wasi"),
        "the plugin imports `fixture:wasi/environment`, `fixture:wasi/clock`, `entropy`: a plugin may import nothing but \
         `ruminate:plugin/logging@0.1.0`"
    );
    assert_eq!(
        refused("no-lifecycle"),
        format!("the plugin lacks the export {lifecycle} with `describe`, `configure`")
    );
    assert_eq!(
        refused("no-world"),
        "the plugin exports no function that makes it a plugin: expected one of `filter` (world `filter`), `transform` (world \
         `mapper`), `score` (world `reward`); it exports `run`, which no world of plugins has"
    );
    assert_eq!(refused("two-worlds"), "the plugin exports `filter`, `transform`: a plugin is of one world only");
    assert_eq!(refused("extra"), "the plugin exports `warm-up`, which no world of plugins has");
    assert_eq!(
        refused("newer"),
        "the plugin is built for `ruminate:plugin@0.2.0`: this engine supports `ruminate:plugin@0.1.0`"
    );
    assert_eq!(
        refused("wrong-type"),
        "the plugin has a function `filter` of another type: expected `func(batch: list<row>) -> result<list<verdict>, \
         string>`, found `func(batch: list<row>) -> list<bool>`"
    );
}

#[test]
fn a_function_of_another_type_is_shown_beside_the_right_one() {
    let keep = r#"(func (export "filter") (param i32 i32) (result i32) (i32.const 65536))"#;
    let log = r#"(import "ruminate:plugin/logging@0.1.0" "log" (func (param i32 i32 i32)))"#;
    let other_log = r#"(import "ruminate:plugin/logging@0.1.0" "log" (func (param i32 i32 i32 i32)))"#;
    let more_log = r#"(import "ruminate:plugin/logging@0.1.0" "flush" (func))"#;
    let cases = [
        (
            "-> result<setup, string>;",
            "-> setup;",
            log,
            "the plugin has a function `configure` of another type: expected `func(config-json: string) -> result<setup, \
             string>`, found `func(config-json: string) -> setup`",
        ),
        (
            "record column { name: string, kind: string }",
            "record column { name: string, kind: string, unit: option<string> }",
            log,
            "the plugin has a function `configure` of another type: expected `func(config-json: string) -> result<setup, \
             string>`, found `func(config-json: string) -> result<record { reads: list<record { name: string, kind: string, \
             unit: option<string> }>, writes: list<record { name: string, kind: string, unit: option<string> }> }, string>`",
        ),
        (
            "variant verdict { keep, drop(string) }",
            "enum verdict { keep, drop }",
            log,
            "the plugin has a function `filter` of another type: expected `func(batch: list<row>) -> result<list<verdict>, \
             string>`, found `func(batch: list<row>) -> result<list<enum { keep, drop }>, string>`",
        ),
        (
            "log: func(level: level, message: string);",
            "log: func(level: level, message: string, line: u32);",
            other_log,
            "the plugin has a function `log` of another type: expected `func(level: level, message: string)`, found \
             `func(level: level, message: string, line: u32)`",
        ),
        (
            "log: func(level: level, message: string);",
            "log: func(level: level, message: string); flush: func();",
            more_log,
            "the plugin imports `flush` of `ruminate:plugin/logging@0.1.0`, which is not there",
        ),
    ];
    for (right, wrong, imports, expected) in cases {
        let wit = wat::wit();
        assert!(wit.contains(right), "`{right}` is in the package");
        let guest = Guest { imports, body: keep, ..Guest::default() };
        assert_eq!(refused_bytes(&wat::component_of(&wit.replace(right, wrong), "filter", &guest.module())), expected);
    }
}

#[test]
fn any_damage_is_refused_without_a_panic() {
    let whole = std::fs::read(file("tests/plugins/extra.wasm")).expect("the component is there");
    for place in (8..whole.len()).step_by(13) {
        let mut damaged = whole.clone();
        damaged[place] ^= 0x55;
        drop(refused_bytes(&damaged));
    }
}
