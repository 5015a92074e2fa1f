//! Which of the functions on a plugin's stack its author wrote: those are shown, the rest is machinery. Knows what the
//! tools of each language call theirs.

use wasmtime::WasmBacktrace;

/// The most frames that a report shows.
const FRAMES_MAX: usize = 8;

/// What names of Rust's libraries, of the bindings and of the SDK begin with.
const RUST: [&str; 10] = [
    "std::",
    "core::",
    "alloc::",
    "rust_",
    "wit_bindgen",
    "ruminate_plugin::",
    "plugin_sdk::",
    "serde",
    "hashbrown::",
    "dlmalloc::",
];

/// What bindings and linkers name the wrappers of exports.
const WRAPPERS: [&str; 6] = ["__", "cabi_", "ruminate:plugin", "_initialize", "_start", "undefined_weak"];

/// Functions of wasi-libc that can be on a stack when C traps.
const LIBC: [&str; 22] = [
    "abort",
    "assert",
    "calloc",
    "dispose_chunk",
    "dlcalloc",
    "dlfree",
    "dlmalloc",
    "dlrealloc",
    "exit",
    "free",
    "malloc",
    "memchr",
    "memcmp",
    "memcpy",
    "memmove",
    "memset",
    "qsort",
    "realloc",
    "sbrk",
    "strcmp",
    "strlen",
    "strncmp",
];

/// What functions of the interpreters of Python and JavaScript begin with. With one of them on the stack, no frame says
/// anything about the plugin's source: its own message does.
const INTERPRETERS: [&str; 9] =
    ["Py", "_Py", "pymain", "JS::", "JS_", "js::", "mozilla::", "componentize_py", "componentize"];

/// The plugin's own functions on the stack, the innermost first; a recursion shows once. Empty if none has a name.
pub(crate) fn own(error: &wasmtime::Error) -> Vec<String> {
    let Some(backtrace) = error.downcast_ref::<WasmBacktrace>() else { return Vec::new() };
    let names = backtrace.frames().iter().filter_map(wasmtime::FrameInfo::func_name);
    select(names.map(|name| format!("{:#}", rustc_demangle::demangle(name))))
}

fn select(names: impl Iterator<Item = String>) -> Vec<String> {
    let mut own: Vec<String> = Vec::new();
    for name in names {
        if begins(&name, &INTERPRETERS) {
            return Vec::new();
        }
        if !is_machinery(&name) && own.len() < FRAMES_MAX && own.last() != Some(&name) {
            own.push(name);
        }
    }
    own
}

fn is_machinery(name: &str) -> bool {
    // `<core::iter::Map<..> as Iterator>::next` belongs to the type's crate.
    let bare = name.trim_start_matches(['<', '&', '*']).trim_start_matches("mut ").trim_start_matches("dyn ");
    begins(bare, &RUST)
        || begins(name, &WRAPPERS)
        || LIBC.contains(&name)
        || name.contains("_cabi<")
        || name.ends_with("_cabi")
}

fn begins(name: &str, with: &[&str]) -> bool {
    with.iter().any(|start| name.starts_with(start))
}

#[cfg(test)]
mod tests {
    use super::select;

    #[test]
    fn only_what_the_author_wrote_is_shown() {
        let rust = [
            "__rustc::rust_begin_unwind",
            "core::panicking::panic_fmt",
            "core::option::expect_failed",
            "filter::parse",
            "<core::iter::adapters::map::Map<I,F> as core::iter::traits::iterator::Iterator>::fold",
            "<&mut alloc::vec::Vec<T> as filter::Own>::push",
            "<filter::Plugin as filter::bindings::Guest>::filter",
            "filter::bindings::_export_filter_cabi",
            "filter",
        ];
        let own = ["filter::parse", "<filter::Plugin as filter::bindings::Guest>::filter", "filter"];
        let c =
            ["abort", "dlmalloc", "count", "count", "count", "exports_filter", "__wasm_export_exports_filter_filter"];
        let python = ["abort", "Py_FatalError", "_PyEval_EvalFrameDefault", "own"];
        let javascript = ["mozilla::detail::InvalidArrayIndex_CRASH", "own"];
        let cases: [(&[&str], &[&str]); 5] =
            [(&rust, &own), (&c, &["count", "exports_filter"]), (&python, &[]), (&javascript, &[]), (&[], &[])];
        for (names, expected) in cases {
            assert_eq!(select(names.iter().map(|name| (*name).to_owned())), expected);
        }
        let many = (0..100).map(|i| format!("f{i}"));
        assert_eq!(select(many), ["f0", "f1", "f2", "f3", "f4", "f5", "f6", "f7"]);
    }
}
