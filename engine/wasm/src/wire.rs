//! Rows on their way into a plugin: what WIT calls `row`, `field` and `value`, borrowing the records' texts, so that the
//! one copy is that into the plugin's memory. The generated bindings have the same types, owned, for what comes back.

use wasmtime::component::{ComponentType, Lower};

/// A row.
#[derive(ComponentType, Lower)]
#[component(record)]
pub(crate) struct Row<'a> {
    pub(crate) id: String,
    pub(crate) fields: Vec<Field<'a>>,
}

/// A field of a row.
#[derive(ComponentType, Lower)]
#[component(record)]
pub(crate) struct Field<'a> {
    pub(crate) name: &'a str,
    pub(crate) value: Value<'a>,
}

/// The value of a field.
#[derive(ComponentType, Lower)]
#[component(variant)]
pub(crate) enum Value<'a> {
    #[component(name = "null")]
    Null,
    #[component(name = "boolean")]
    Boolean(bool),
    #[component(name = "int")]
    Int(i64),
    #[component(name = "float")]
    Float(f64),
    #[component(name = "text")]
    Text(&'a str),
    #[component(name = "bytes")]
    Bytes(Vec<u8>),
    #[component(name = "json")]
    Json(String),
}
