//! Parquet in and out, with the image columns of Hugging Face `datasets`: a struct of `bytes` and `path`.

use std::fs::File;
use std::path::Path;
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, BinaryBuilder, BooleanBuilder, Float64Builder, Int64Builder, ListArray, RecordBatch,
    StringBuilder, StructArray,
};
use arrow::buffer::{NullBuffer, OffsetBuffer};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field, Float64Type, Int64Type, Schema as ArrowSchema, UInt64Type};
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use parquet::basic::Compression;
use parquet::file::metadata::KeyValue;
use parquet::file::properties::WriterProperties;
use serde_json::json;

use crate::error::StageError;
use crate::record::{FieldKind, Fields, Record, Schema, Value};
use crate::stage::Blobs;

use super::{BATCH_ROWS, Guess, TakeRows, image};

/// Rows of a written file that lie together: images are large, and a reader holds a group in memory.
const WRITE_ROWS: usize = 256;
/// The schema entry from which `datasets` restores its features.
const FEATURES: &str = "huggingface";

pub(super) fn schema_of(path: &Path) -> Result<Schema, StageError> {
    let builder = open(path)?;
    Ok(builder.schema().fields().iter().map(|field| (field.name().clone(), kind_of(field.data_type()))).collect())
}

pub(super) fn read(path: &Path, blobs: &dyn Blobs, take: TakeRows<'_>) -> Result<(), StageError> {
    let reader = open(path)?.with_batch_size(BATCH_ROWS).build().map_err(|error| broken(path, error))?;
    let mut first = 0;
    for batch in reader {
        let batch = batch.map_err(|error| broken(path, error))?;
        let mut rows = vec![Fields::new(); batch.num_rows()];
        for (field, column) in batch.schema().fields().iter().zip(batch.columns()) {
            let name: Arc<str> = field.name().as_str().into();
            let values = values_of(column, blobs).map_err(|error| match error {
                Reason::Stage(error) => error,
                Reason::Cell(row, reason) => StageError::failed(format!(
                    "{}: row {}, column `{name}`: {reason}",
                    path.display(),
                    first + row + 1
                )),
            })?;
            for (row, value) in rows.iter_mut().zip(values) {
                row.insert(name.clone(), value);
            }
        }
        first += rows.len();
        take(rows)?;
    }
    Ok(())
}

fn open(path: &Path) -> Result<ParquetRecordBatchReaderBuilder<File>, StageError> {
    let file = File::open(path).map_err(StageError::io("read", path))?;
    ParquetRecordBatchReaderBuilder::try_new(file).map_err(|error| broken(path, error))
}

fn broken(path: &Path, error: impl std::fmt::Display) -> StageError {
    StageError::failed(format!("cannot read `{}` as Parquet: {error}", path.display()))
}

fn is_bytes(kind: &DataType) -> bool {
    matches!(kind, DataType::Binary | DataType::LargeBinary | DataType::BinaryView | DataType::FixedSizeBinary(_))
}

/// A struct of `bytes` and `path`: an image, as `datasets` keeps it.
fn is_image(fields: &arrow::datatypes::Fields) -> bool {
    fields.len() == 2
        && fields
            .iter()
            .any(|field| field.name() == "bytes" && (is_bytes(field.data_type()) || field.data_type().is_null()))
        && fields.iter().any(|field| field.name() == "path")
}

fn kind_of(kind: &DataType) -> FieldKind {
    match kind {
        DataType::Boolean => FieldKind::Bool,
        kind if kind.is_integer() => FieldKind::Int,
        kind if kind.is_floating() || is_decimal(kind) => FieldKind::Float,
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => FieldKind::Text,
        kind if kind.is_temporal() => FieldKind::Text,
        kind if is_bytes(kind) => FieldKind::Image,
        DataType::Struct(fields) if is_image(fields) => FieldKind::Image,
        DataType::List(inner) | DataType::LargeList(inner) | DataType::FixedSizeList(inner, _) => {
            FieldKind::List(Box::new(kind_of(inner.data_type())))
        }
        DataType::Dictionary(_, value) => kind_of(value),
        _ => FieldKind::Json,
    }
}

fn is_decimal(kind: &DataType) -> bool {
    matches!(
        kind,
        DataType::Decimal32(..) | DataType::Decimal64(..) | DataType::Decimal128(..) | DataType::Decimal256(..)
    )
}

/// Why a cell does not read.
enum Reason {
    Cell(usize, String),
    Stage(StageError),
}

impl From<arrow::error::ArrowError> for Reason {
    fn from(error: arrow::error::ArrowError) -> Self {
        Reason::Cell(0, error.to_string())
    }
}

/// The values of a column, one per row.
fn values_of(column: &ArrayRef, blobs: &dyn Blobs) -> Result<Vec<Value>, Reason> {
    let rows = 0..column.len();
    let present = |row: &usize| column.is_valid(*row);
    Ok(match column.data_type() {
        DataType::Null => vec![Value::Null; column.len()],
        DataType::Boolean => {
            let column = column.as_boolean();
            rows.map(|row| if present(&row) { Value::Bool(column.value(row)) } else { Value::Null }).collect()
        }
        DataType::UInt64 => {
            let column = column.as_primitive::<UInt64Type>();
            let value = |value: u64| i64::try_from(value).map_or(Value::Float(value as f64), Value::Int);
            rows.map(|row| if present(&row) { value(column.value(row)) } else { Value::Null }).collect()
        }
        kind if kind.is_integer() => {
            let cast = cast(column, &DataType::Int64)?;
            let cast = cast.as_primitive::<Int64Type>();
            rows.map(|row| if present(&row) { Value::Int(cast.value(row)) } else { Value::Null }).collect()
        }
        kind if kind.is_floating() || is_decimal(kind) => {
            let cast = cast(column, &DataType::Float64)?;
            let cast = cast.as_primitive::<Float64Type>();
            let value = |value: f64| if value.is_finite() { Value::Float(value) } else { Value::Null };
            rows.map(|row| if present(&row) { value(cast.value(row)) } else { Value::Null }).collect()
        }
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => texts(column)?,
        kind if kind.is_temporal() => texts(column)?,
        kind if is_bytes(kind) => images(column, blobs)?,
        DataType::Struct(fields) if is_image(fields) => image_structs(column.as_struct(), blobs)?,
        DataType::Struct(_) => maps(column.as_struct(), blobs)?,
        DataType::List(_) | DataType::LargeList(_) | DataType::FixedSizeList(..) => {
            let lists: Vec<Option<ArrayRef>> = match column.data_type() {
                DataType::List(_) => column.as_list::<i32>().iter().collect(),
                DataType::LargeList(_) => column.as_list::<i64>().iter().collect(),
                _ => column.as_fixed_size_list().iter().collect(),
            };
            let list =
                |list: Option<ArrayRef>| list.map_or(Ok(Value::Null), |list| values_of(&list, blobs).map(Value::List));
            lists.into_iter().map(list).collect::<Result<_, _>>()?
        }
        DataType::Dictionary(_, value) => values_of(&cast(column, value)?, blobs)?,
        other => {
            return Err(Reason::Cell(0, format!("values of the type {other} are not supported; store them as text")));
        }
    })
}

fn texts(column: &ArrayRef) -> Result<Vec<Value>, Reason> {
    let text = cast(column, &DataType::LargeUtf8)?;
    let text = text.as_string::<i64>();
    Ok(text.iter().map(|text| text.map_or(Value::Null, Value::text)).collect())
}

fn images(column: &ArrayRef, blobs: &dyn Blobs) -> Result<Vec<Value>, Reason> {
    let bytes = cast(column, &DataType::LargeBinary)?;
    let bytes = bytes.as_binary::<i64>();
    let store = |bytes: Option<&[u8]>| bytes.map_or(Ok(Value::Null), |bytes| image::store(bytes, blobs));
    bytes.iter().map(|bytes| store(bytes).map_err(Reason::Stage)).collect()
}

fn image_structs(column: &StructArray, blobs: &dyn Blobs) -> Result<Vec<Value>, Reason> {
    let (Some(bytes), Some(path)) = (column.column_by_name("bytes"), column.column_by_name("path")) else {
        return Ok(vec![Value::Null; column.len()]);
    };
    let mut values = if bytes.data_type().is_null() { vec![Value::Null; column.len()] } else { images(bytes, blobs)? };
    for (row, value) in values.iter_mut().enumerate() {
        if column.is_null(row) {
            *value = Value::Null;
        } else if *value == Value::Null && path.is_valid(row) && !path.data_type().is_null() {
            let reason = "the image is given by its path only; embed its bytes in the file (`datasets` does so on `push_to_hub`)";
            return Err(Reason::Cell(row, reason.to_owned()));
        }
    }
    Ok(values)
}

fn maps(column: &StructArray, blobs: &dyn Blobs) -> Result<Vec<Value>, Reason> {
    let mut rows = vec![std::collections::BTreeMap::new(); column.len()];
    for (field, inner) in column.fields().iter().zip(column.columns()) {
        for (row, value) in rows.iter_mut().zip(values_of(inner, blobs)?) {
            row.insert(field.name().clone(), value);
        }
    }
    let rows = rows.into_iter().enumerate();
    Ok(rows.map(|(row, map)| if column.is_null(row) { Value::Null } else { Value::Map(map) }).collect())
}

/// Writes records to a new file: `id`, then the columns of the schema, then fields that it does not name.
pub(super) fn write(file: &File, schema: &Schema, records: &[Record], blobs: &dyn Blobs) -> Result<(), StageError> {
    let columns = columns(schema, records);
    let features: serde_json::Map<_, _> = columns.iter().map(|(name, kind)| (name.clone(), feature(kind))).collect();
    let features = json!({ "info": { "features": features } }).to_string();
    let fields: Vec<_> = columns.iter().map(|(name, kind)| Field::new(name, arrow_kind(kind), true)).collect();
    let metadata: std::collections::HashMap<_, _> = [(FEATURES.to_owned(), features.clone())].into();
    let arrow_schema = Arc::new(ArrowSchema::new_with_metadata(fields, metadata));
    let properties = WriterProperties::builder()
        .set_compression(Compression::SNAPPY)
        .set_key_value_metadata(Some(vec![KeyValue::new(FEATURES.to_owned(), features)]))
        .build();
    let mut writer = ArrowWriter::try_new(file, arrow_schema.clone(), Some(properties)).map_err(StageError::failed)?;
    for rows in records.chunks(WRITE_ROWS) {
        let mut arrays = Vec::with_capacity(columns.len());
        for (name, kind) in &columns {
            let id = |record: &Record| Value::Text(record.id.clone());
            let field = |record: &Record| record.fields.get(name.as_str()).cloned().unwrap_or(Value::Null);
            let values: Vec<Value> =
                rows.iter().map(|record| if name == "id" { id(record) } else { field(record) }).collect();
            arrays.push(array_of(&values, kind, blobs)?);
        }
        let batch = RecordBatch::try_new(arrow_schema.clone(), arrays).map_err(StageError::failed)?;
        writer.write(&batch).map_err(StageError::failed)?;
        // A group of its own for each: with images in it, a group of the usual million rows would not fit in memory.
        writer.flush().map_err(StageError::failed)?;
    }
    writer.close().map_err(StageError::failed)?;
    Ok(())
}

/// The columns to write. A column whose values do not all fit its kind is written as JSON text.
fn columns(schema: &Schema, records: &[Record]) -> Schema {
    let mut columns = Schema::from_iter([("id".to_owned(), FieldKind::Text)]);
    columns.extend(schema.iter().filter(|(name, _)| *name != "id").map(|(name, kind)| (name.clone(), kind.clone())));
    let mut found = indexmap::IndexMap::<&str, Guess>::new();
    for (name, value) in records.iter().flat_map(|record| &record.fields).filter(|(name, _)| &***name != "id") {
        found.entry(name).or_default().widen(value);
    }
    for (name, guess) in found {
        let Some(kind) = guess.kind() else {
            columns.entry(name.to_owned()).or_insert(FieldKind::Json);
            continue;
        };
        match columns.get_mut(name) {
            // What was not known before the run is known now.
            Some(declared) if !exactly(declared, &kind) => *declared = kind,
            Some(_) => {}
            None => _ = columns.insert(name.to_owned(), kind),
        }
    }
    columns
}

/// Whether every value of `given` can be written in a column of `declared`.
fn exactly(declared: &FieldKind, given: &FieldKind) -> bool {
    match (declared, given) {
        (FieldKind::Float, FieldKind::Int) => true,
        (FieldKind::List(declared), FieldKind::List(given)) => **given == FieldKind::Json || exactly(declared, given),
        (declared, given) => declared == given,
    }
}

fn arrow_kind(kind: &FieldKind) -> DataType {
    match kind {
        FieldKind::Bool => DataType::Boolean,
        FieldKind::Int => DataType::Int64,
        FieldKind::Float => DataType::Float64,
        FieldKind::Text | FieldKind::Json => DataType::Utf8,
        FieldKind::Image => DataType::Struct(image_fields()),
        FieldKind::List(inner) => DataType::List(Arc::new(Field::new("element", arrow_kind(inner), true))),
    }
}

fn image_fields() -> arrow::datatypes::Fields {
    vec![Field::new("bytes", DataType::Binary, true), Field::new("path", DataType::Utf8, true)].into()
}

/// A column in the words of `datasets`.
fn feature(kind: &FieldKind) -> serde_json::Value {
    let value = |dtype: &str| json!({ "dtype": dtype, "_type": "Value" });
    match kind {
        FieldKind::Bool => value("bool"),
        FieldKind::Int => value("int64"),
        FieldKind::Float => value("float64"),
        FieldKind::Text | FieldKind::Json => value("string"),
        FieldKind::Image => json!({ "_type": "Image" }),
        // Both older and newer versions of `datasets` read a list in this form.
        FieldKind::List(inner) => json!([feature(inner)]),
    }
}

fn array_of(values: &[Value], kind: &FieldKind, blobs: &dyn Blobs) -> Result<ArrayRef, StageError> {
    Ok(match kind {
        FieldKind::Bool => {
            let mut builder = BooleanBuilder::new();
            values.iter().for_each(|value| {
                builder.append_option(if let Value::Bool(value) = value { Some(*value) } else { None })
            });
            Arc::new(builder.finish())
        }
        FieldKind::Int => {
            let mut builder = Int64Builder::new();
            values.iter().for_each(|value| {
                builder.append_option(if let Value::Int(value) = value { Some(*value) } else { None })
            });
            Arc::new(builder.finish())
        }
        FieldKind::Float => {
            let mut builder = Float64Builder::new();
            values.iter().for_each(|value| match value {
                Value::Float(value) => builder.append_value(*value),
                Value::Int(value) => builder.append_value(*value as f64),
                _ => builder.append_null(),
            });
            Arc::new(builder.finish())
        }
        FieldKind::Text | FieldKind::Json => {
            let mut builder = StringBuilder::new();
            values.iter().for_each(|value| match value {
                Value::Null => builder.append_null(),
                Value::Text(text) if *kind == FieldKind::Text => builder.append_value(text),
                other => builder.append_value(other.to_json().to_string()),
            });
            Arc::new(builder.finish())
        }
        FieldKind::Image => image_array(values, blobs)?,
        FieldKind::List(inner) => list_array(values, inner, blobs)?,
    })
}

fn image_array(values: &[Value], blobs: &dyn Blobs) -> Result<ArrayRef, StageError> {
    let (mut bytes, mut paths) = (BinaryBuilder::new(), StringBuilder::new());
    let mut present = Vec::with_capacity(values.len());
    for value in values {
        let blob = if let Value::Blob(blob) = value { Some(blob) } else { None };
        present.push(blob.is_some());
        bytes.append_option(blob.map(|blob| blobs.get(blob)).transpose()?);
        paths.append_null();
    }
    let columns: Vec<ArrayRef> = vec![Arc::new(bytes.finish()), Arc::new(paths.finish())];
    let array = StructArray::try_new(image_fields(), columns, Some(NullBuffer::from(present)));
    Ok(Arc::new(array.map_err(StageError::failed)?))
}

fn list_array(values: &[Value], inner: &FieldKind, blobs: &dyn Blobs) -> Result<ArrayRef, StageError> {
    let mut all = Vec::new();
    let mut lengths = Vec::with_capacity(values.len());
    let mut present = Vec::with_capacity(values.len());
    for value in values {
        let list = if let Value::List(list) = value { Some(list) } else { None };
        present.push(list.is_some());
        lengths.push(list.map_or(0, Vec::len));
        all.extend(list.into_iter().flatten().cloned());
    }
    let array = ListArray::try_new(
        Arc::new(Field::new("element", arrow_kind(inner), true)),
        OffsetBuffer::from_lengths(lengths),
        array_of(&all, inner, blobs)?,
        Some(NullBuffer::from(present)),
    );
    Ok(Arc::new(array.map_err(StageError::failed)?))
}
