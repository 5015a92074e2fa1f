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

/// What bindings, linkers and the SDK for C name theirs.
const BINDINGS: [&str; 8] =
    ["__", "cabi_", "exports_", "post_", "ruminate:plugin", "ruminate_", "_initialize", "undefined_weak"];

/// Functions of wasi-libc that are on a stack when C traps: what they were called for is on it too.
const LIBC: [&str; 36] = [
    "abort",
    "calloc",
    "dispose_chunk",
    "dlcalloc",
    "dlfree",
    "dlmalloc",
    "dlrealloc",
    "exit",
    "fmod",
    "fputs",
    "free",
    "frexp",
    "fwrite",
    "malloc",
    "memchr",
    "memcmp",
    "memcpy",
    "memmove",
    "memset",
    "printf_core",
    "qsort",
    "realloc",
    "sbrk",
    "scalbn",
    "sn_write",
    "snprintf",
    "strchr",
    "strcmp",
    "strcspn",
    "strlen",
    "strncmp",
    "strnlen",
    "strtod",
    "strtol",
    "vfprintf",
    "vsnprintf",
];

/// What functions of Python's interpreter begin with; JavaScript's have no names.
const INTERPRETER: [&str; 4] = ["Py", "_Py", "pymain", "wit_dylib_"];

/// The plugin's own functions on the stack, the innermost first; a recursion shows once.
///
/// Empty for the stack of an interpreter, which says nothing about the plugin's source: its own message does.
pub(crate) fn own(error: &wasmtime::Error) -> Vec<String> {
    let Some(backtrace) = error.downcast_ref::<WasmBacktrace>() else { return Vec::new() };
    let names = backtrace.frames().iter().map(wasmtime::FrameInfo::func_name);
    let names: Option<Vec<_>> =
        names.map(|name| name.map(|name| format!("{:#}", rustc_demangle::demangle(name)))).collect();
    select(names.unwrap_or_default())
}

fn select(names: Vec<String>) -> Vec<String> {
    if names.iter().any(|name| begins(name, &INTERPRETER)) {
        return Vec::new();
    }
    // Rust's own functions have paths; what has none is the wrapper of an export.
    let rust = names.iter().any(|name| name.contains("::"));
    let mut own: Vec<String> = Vec::new();
    for name in names {
        let shown = !is_machinery(&name) && (!rust || name.contains("::"));
        if shown && own.len() < FRAMES_MAX && own.last() != Some(&name) {
            own.push(name);
        }
    }
    own
}

fn is_machinery(name: &str) -> bool {
    // `<core::iter::Map<..> as Iterator>::next` belongs to the type's crate.
    let bare = name.trim_start_matches(['<', '&', '*']).trim_start_matches("mut ").trim_start_matches("dyn ");
    begins(bare, &RUST)
        || begins(name, &BINDINGS)
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
        let own = ["filter::parse", "<filter::Plugin as filter::bindings::Guest>::filter"];
        let c = [
            "abort",
            "ruminate_fail",
            "memcpy",
            "count",
            "count",
            "filter",
            "exports_filter_filter",
            "__wasm_export_filter",
        ];
        let python = ["abort", "Py_FatalError", "_PyEval_EvalFrameDefault", "filter"];
        let cases: [(&[&str], &[&str]); 4] = [(&rust, &own), (&c, &["count", "filter"]), (&python, &[]), (&[], &[])];
        for (names, expected) in cases {
            assert_eq!(select(names.iter().map(|name| (*name).to_owned()).collect()), expected);
        }
        let many = (0..100).map(|i| format!("f{i}")).collect();
        assert_eq!(select(many), ["f0", "f1", "f2", "f3", "f4", "f5", "f6", "f7"]);
    }
}
