//! The types of functions as WIT text, with the contract's own types called by their names: so that a function of another
//! type can be shown beside the one that is expected.

use wasmtime::component::Type;
use wasmtime::component::types::ComponentFunc;

/// The contract's types by their structure, in terms of those above them; compare plugins/wit/plugin.wit.
const NAMED: [(&str, &str); 9] = [
    ("value", "variant { null, boolean(bool), int(s64), float(f64), text(string), bytes(list<u8>), json(string) }"),
    ("field", "record { name: string, value: value }"),
    ("row", "record { id: string, fields: list<field> }"),
    ("column", "record { name: string, kind: string }"),
    ("info", "record { name: string, version: string, summary: string, config-schema: option<string> }"),
    ("setup", "record { reads: list<column>, writes: list<column> }"),
    ("verdict", "variant { keep, drop(string) }"),
    ("score", "record { value: f64, note: option<string> }"),
    ("level", "enum { trace, debug, info, warn, error }"),
];

/// The types of the contract's functions.
const EXPECTED: [(&str, &str); 6] = [
    ("describe", "func() -> info"),
    ("configure", "func(config-json: string) -> result<setup, string>"),
    ("filter", "func(batch: list<row>) -> result<list<verdict>, string>"),
    ("transform", "func(batch: list<row>) -> result<list<list<row>>, string>"),
    ("score", "func(batch: list<row>) -> result<list<score>, string>"),
    ("log", "func(level: level, message: string)"),
];

/// What is wrong with the type of the contract's function `name`.
pub(crate) fn fault(name: &str, function: &ComponentFunc) -> Option<String> {
    let (_, expected) = EXPECTED.iter().find(|(known, _)| *known == name)?;
    let found = of_function(function);
    (found != *expected)
        .then(|| format!("has a function `{name}` of another type: expected `{expected}`, found `{found}`"))
}

fn of_function(function: &ComponentFunc) -> String {
    let parameters = joined(function.params().map(|(name, kind)| format!("{name}: {}", of(&kind))));
    let results = joined(function.results().map(|kind| of(&kind)));
    let arrow = if results.is_empty() { "" } else { " -> " };
    format!("func({parameters}){arrow}{results}")
}

fn of(kind: &Type) -> String {
    let text = match kind {
        Type::Bool => "bool".to_owned(),
        Type::S8 => "s8".to_owned(),
        Type::U8 => "u8".to_owned(),
        Type::S16 => "s16".to_owned(),
        Type::U16 => "u16".to_owned(),
        Type::S32 => "s32".to_owned(),
        Type::U32 => "u32".to_owned(),
        Type::S64 => "s64".to_owned(),
        Type::U64 => "u64".to_owned(),
        Type::Float32 => "f32".to_owned(),
        Type::Float64 => "f64".to_owned(),
        Type::Char => "char".to_owned(),
        Type::String => "string".to_owned(),
        Type::List(list) => format!("list<{}>", of(&list.ty())),
        Type::FixedLengthList(list) => format!("list<{}> of fixed length", of(&list.ty())),
        Type::Option(option) => format!("option<{}>", of(&option.ty())),
        Type::Tuple(tuple) => format!("tuple<{}>", joined(tuple.types().map(|kind| of(&kind)))),
        Type::Record(record) => {
            braced("record", record.fields().map(|field| format!("{}: {}", field.name, of(&field.ty))))
        }
        Type::Variant(variant) => {
            let case =
                |name: &str, kind: Option<Type>| kind.map_or(name.to_owned(), |kind| format!("{name}({})", of(&kind)));
            braced("variant", variant.cases().map(|one| case(one.name, one.ty)))
        }
        Type::Enum(cases) => braced("enum", cases.names().map(str::to_owned)),
        Type::Flags(flags) => braced("flags", flags.names().map(str::to_owned)),
        Type::Result(result) => {
            let part = |kind: Option<Type>| kind.map_or("_".to_owned(), |kind| of(&kind));
            format!("result<{}, {}>", part(result.ok()), part(result.err()))
        }
        Type::Own(_) | Type::Borrow(_) => "a resource".to_owned(),
        Type::Map(_) => "a map".to_owned(),
        Type::Future(_) | Type::Stream(_) | Type::ErrorContext => "something asynchronous".to_owned(),
    };
    match NAMED.iter().find(|(_, structure)| *structure == text) {
        Some((name, _)) => (*name).to_owned(),
        None => text,
    }
}

fn braced(keyword: &str, parts: impl Iterator<Item = String>) -> String {
    format!("{keyword} {{ {} }}", joined(parts))
}

fn joined(parts: impl Iterator<Item = String>) -> String {
    parts.collect::<Vec<_>>().join(", ")
}
