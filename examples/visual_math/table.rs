//! Parquet files as Hugging Face `datasets` writes them: an image is a struct of bytes and path, and the
//! schema's `huggingface` metadata names the features. Knows nothing of what the rows mean.

use std::collections::HashMap;
use std::fs::File;
use std::path::Path;
use std::sync::Arc;

use arrow::array::{ArrayRef, BinaryArray, ListBuilder, RecordBatch, StringArray, StringBuilder, StructArray};
use arrow::buffer::NullBuffer;
use arrow::datatypes::{DataType, Field, Fields, Schema};
use arrow::error::ArrowError;
use parquet::arrow::ArrowWriter;
use parquet::basic::{Compression, ZstdLevel};
use parquet::errors::ParquetError;
use parquet::file::properties::WriterProperties;

/// A column: its name, its feature as `datasets` describes it, and its values.
pub(crate) struct Column {
    name: &'static str,
    feature: String,
    values: ArrayRef,
}

const TEXT_FEATURE: &str = r#"{"dtype": "string", "_type": "Value"}"#;

/// A column of text.
pub(crate) fn text<T: AsRef<str>>(name: &'static str, values: impl IntoIterator<Item = T>) -> Column {
    Column { name, feature: TEXT_FEATURE.to_owned(), values: Arc::new(StringArray::from_iter_values(values)) }
}

/// A column of lists of text, with null where a row has none.
pub(crate) fn lists<'a>(name: &'static str, values: impl IntoIterator<Item = Option<&'a Vec<String>>>) -> Column {
    let mut builder = ListBuilder::new(StringBuilder::new());
    for list in values {
        for item in list.into_iter().flatten() {
            builder.values().append_value(item);
        }
        builder.append(list.is_some());
    }
    Column {
        name,
        feature: format!(r#"{{"feature": {TEXT_FEATURE}, "_type": "List"}}"#),
        values: Arc::new(builder.finish()),
    }
}

/// A column of PNG images, with null where a row has none. The path is only a name: `ID.png`.
pub(crate) fn images(name: &'static str, ids: &[String], values: &[Option<Vec<u8>>]) -> Column {
    let fields =
        Fields::from(vec![Field::new("bytes", DataType::Binary, true), Field::new("path", DataType::Utf8, true)]);
    let bytes: BinaryArray = values.iter().map(Option::as_deref).collect();
    let paths: StringArray =
        ids.iter().zip(values).map(|(id, value)| value.as_ref().map(|_| format!("{id}.png"))).collect();
    let valid: NullBuffer = values.iter().map(Option::is_some).collect::<Vec<_>>().into();
    Column {
        name,
        feature: r#"{"_type": "Image"}"#.to_owned(),
        values: Arc::new(StructArray::new(fields, vec![Arc::new(bytes), Arc::new(paths)], Some(valid))),
    }
}

/// Writes the columns, all of the same length, as one Parquet file.
pub(crate) fn write(path: &Path, columns: Vec<Column>) -> Result<(), ParquetError> {
    let features: Vec<String> =
        columns.iter().map(|column| format!(r#""{}": {}"#, column.name, column.feature)).collect();
    let info = format!(r#"{{"info": {{"features": {{{}}}}}}}"#, features.join(", "));
    let fields: Vec<Field> =
        columns.iter().map(|column| Field::new(column.name, column.values.data_type().clone(), true)).collect();
    let metadata = HashMap::from([("huggingface".to_owned(), info)]);
    let schema = Arc::new(Schema::new_with_metadata(fields, metadata));
    let values = columns.into_iter().map(|column| column.values).collect();
    let batch = RecordBatch::try_new(schema.clone(), values).map_err(|error: ArrowError| error)?;
    let properties = WriterProperties::builder().set_compression(Compression::ZSTD(ZstdLevel::try_new(9)?)).build();
    let mut writer = ArrowWriter::try_new(File::create(path)?, schema, Some(properties))?;
    writer.write(&batch)?;
    writer.close()?;
    Ok(())
}
