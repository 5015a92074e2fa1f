//! Writes Parquet in row groups of bounded size, with the image columns and the features of Hugging Face `datasets`.

use std::fs::File;
use std::sync::Arc;

use arrow::array::{
    ArrayRef, BinaryBuilder, BooleanBuilder, Float64Builder, Int64Builder, ListArray, RecordBatch, StringBuilder,
    StructArray,
};
use arrow::buffer::{NullBuffer, OffsetBuffer};
use arrow::datatypes::{DataType, Field, Schema as ArrowSchema};
use parquet::arrow::ArrowWriter;
use parquet::basic::Compression;
use parquet::file::metadata::KeyValue;
use parquet::file::properties::WriterProperties;
use serde_json::json;

use crate::error::StageError;
use crate::record::{FieldKind, Record, Value};
use crate::stage::Blobs;

use super::image;
use super::rows::shown;
use super::writer::{WriteColumn, field_of};

/// Rows that are turned into columns at a time.
const BATCH_ROWS: usize = 256;
/// The same where images are among them.
const IMAGE_ROWS: usize = 32;
/// Rows of a group where images are among them.
const IMAGE_GROUP_ROWS: usize = 256;
/// Rows of a group. A reader holds a group in memory.
const GROUP_ROWS: usize = 1 << 16;
/// A group is closed early once it is this large.
const GROUP_BYTES: usize = 32 << 20;
/// The schema entry from which `datasets` restores its features.
const FEATURES: &str = "huggingface";

pub(super) struct ParquetWriter {
    writer: ArrowWriter<File>,
    schema: Arc<ArrowSchema>,
    columns: Vec<WriteColumn>,
    /// Rows that do not fill a batch yet: batches do not depend on how rows came.
    pending: Vec<Record>,
    batch_rows: usize,
    group_rows: usize,
}

impl ParquetWriter {
    pub(super) fn create(file: File, columns: Vec<WriteColumn>) -> Result<Self, StageError> {
        let features: serde_json::Map<_, _> =
            columns.iter().map(|column| (column.name.clone(), feature(&column.kind))).collect();
        let features = json!({ "info": { "features": features } }).to_string();
        let fields: Vec<_> =
            columns.iter().map(|column| Field::new(&column.name, arrow_kind(&column.kind), true)).collect();
        let metadata: std::collections::HashMap<_, _> = [(FEATURES.to_owned(), features.clone())].into();
        let schema = Arc::new(ArrowSchema::new_with_metadata(fields, metadata));
        let properties = WriterProperties::builder()
            .set_compression(Compression::SNAPPY)
            .set_key_value_metadata(Some(vec![KeyValue::new(FEATURES.to_owned(), features)]))
            .build();
        let writer = ArrowWriter::try_new(file, schema.clone(), Some(properties)).map_err(StageError::failed)?;
        let has_images = columns.iter().any(|column| holds_images(&column.kind));
        // With images in it, a group of the usual size would not fit in memory.
        let (batch_rows, group_rows) =
            if has_images { (IMAGE_ROWS, IMAGE_GROUP_ROWS) } else { (BATCH_ROWS, GROUP_ROWS) };
        Ok(Self { writer, schema, columns, pending: Vec::new(), batch_rows, group_rows })
    }

    pub(super) fn write(&mut self, mut records: &[Record], blobs: &dyn Blobs) -> Result<(), StageError> {
        while !records.is_empty() {
            if self.pending.is_empty() && records.len() >= self.batch_rows {
                let (batch, rest) = records.split_at(self.batch_rows);
                self.write_batch(batch, blobs)?;
                records = rest;
                continue;
            }
            let (taken, rest) = records.split_at(records.len().min(self.batch_rows - self.pending.len()));
            self.pending.extend_from_slice(taken);
            records = rest;
            if self.pending.len() == self.batch_rows {
                let batch = std::mem::take(&mut self.pending);
                self.write_batch(&batch, blobs)?;
            }
        }
        Ok(())
    }

    pub(super) fn finish(mut self, blobs: &dyn Blobs) -> Result<(), StageError> {
        let batch = std::mem::take(&mut self.pending);
        if !batch.is_empty() {
            self.write_batch(&batch, blobs)?;
        }
        self.writer.close().map(drop).map_err(StageError::failed)
    }

    fn write_batch(&mut self, records: &[Record], blobs: &dyn Blobs) -> Result<(), StageError> {
        let mut arrays = Vec::with_capacity(self.columns.len());
        for column in &self.columns {
            arrays.push(if column.name == "id" {
                let ids: arrow::array::StringArray = records.iter().map(|record| Some(&*record.id)).collect();
                Arc::new(ids)
            } else {
                column_of(column, records, blobs)?
            });
        }
        let options = arrow::array::RecordBatchOptions::new().with_row_count(Some(records.len()));
        let batch = RecordBatch::try_new_with_options(self.schema.clone(), arrays, &options);
        self.writer.write(&batch.map_err(StageError::failed)?).map_err(StageError::failed)?;
        if self.writer.in_progress_rows() >= self.group_rows || self.writer.in_progress_size() >= GROUP_BYTES {
            self.writer.flush().map_err(StageError::failed)?;
        }
        Ok(())
    }
}

fn holds_images(kind: &FieldKind) -> bool {
    match kind {
        FieldKind::List(inner) => holds_images(inner),
        kind => *kind == FieldKind::Image,
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

/// A column of some records. A value that does not fit is an error that names the record.
fn column_of(column: &WriteColumn, records: &[Record], blobs: &dyn Blobs) -> Result<ArrayRef, StageError> {
    let values: Vec<&Value> = records.iter().map(|record| field_of(record, &column.name)).collect();
    if !column.any {
        for (record, value) in records.iter().zip(&values) {
            if !fits(value, &column.kind) {
                return Err(StageError::failed(format!(
                    "record `{}`: field `{}`: expected {}, as in the records before it, found {} {}; a column of \
                     Parquet holds values of one kind: write JSON lines instead",
                    record.id,
                    column.name,
                    column.kind,
                    FieldKind::of(value),
                    shown(value)
                )));
            }
        }
    }
    array_of(&values, &column.kind, blobs)
}

fn fits(value: &Value, kind: &FieldKind) -> bool {
    match (value, kind) {
        (Value::Null, _) | (_, FieldKind::Json) => true,
        (Value::Bool(_), FieldKind::Bool) | (Value::Text(_), FieldKind::Text) | (Value::Blob(_), FieldKind::Image) => {
            true
        }
        (Value::Int(_), FieldKind::Int | FieldKind::Float) | (Value::Float(_), FieldKind::Float) => true,
        (Value::List(values), FieldKind::List(inner)) => values.iter().all(|value| fits(value, inner)),
        _ => false,
    }
}

/// The values, all of which fit, as an array.
fn array_of(values: &[&Value], kind: &FieldKind, blobs: &dyn Blobs) -> Result<ArrayRef, StageError> {
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
                Value::Float(value) if value.is_finite() => builder.append_value(*value),
                Value::Int(value) => builder.append_value(*value as f64),
                _ => builder.append_null(),
            });
            Arc::new(builder.finish())
        }
        FieldKind::Text | FieldKind::Json => {
            let mut builder = StringBuilder::new();
            for value in values {
                match value {
                    Value::Null => builder.append_null(),
                    Value::Text(text) if *kind == FieldKind::Text => builder.append_value(text),
                    other => builder.append_value(image::to_json(other, blobs)?.to_string()),
                }
            }
            Arc::new(builder.finish())
        }
        FieldKind::Image => image_array(values, blobs)?,
        FieldKind::List(inner) => list_array(values, inner, blobs)?,
    })
}

fn image_array(values: &[&Value], blobs: &dyn Blobs) -> Result<ArrayRef, StageError> {
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

fn list_array(values: &[&Value], inner: &FieldKind, blobs: &dyn Blobs) -> Result<ArrayRef, StageError> {
    let mut all = Vec::new();
    let mut lengths = Vec::with_capacity(values.len());
    let mut present = Vec::with_capacity(values.len());
    for value in values {
        let list = if let Value::List(list) = value { Some(list) } else { None };
        present.push(list.is_some());
        lengths.push(list.map_or(0, Vec::len));
        all.extend(list.into_iter().flatten());
    }
    let array = ListArray::try_new(
        Arc::new(Field::new("element", arrow_kind(inner), true)),
        OffsetBuffer::from_lengths(lengths),
        array_of(&all, inner, blobs)?,
        Some(NullBuffer::from(present)),
    );
    Ok(Arc::new(array.map_err(StageError::failed)?))
}
