//! Reads Parquet, column by column, with the image columns of Hugging Face `datasets`: a struct of `bytes` and `path`.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch, StructArray};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Float64Type, Int64Type, UInt64Type};
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::{ParquetRecordBatchReader, ParquetRecordBatchReaderBuilder};
use parquet::file::metadata::RowGroupMetaData;

use crate::error::StageError;
use crate::record::{FieldKind, Schema, Value};

use super::rows::{Columns, ReadContext, RowBuilder, TakeRows};
use super::{BATCH_ROWS, image};

/// Rows that are handed on at a time where images are among them.
const IMAGE_ROWS: usize = 32;

/// Whether the file itself is Parquet, rather than what is packed in it.
pub(super) fn is_plain(path: &Path) -> Result<bool, StageError> {
    let mut magic = [0; 4];
    let mut file = File::open(path).map_err(StageError::io("read", path))?;
    Ok(file.read_exact(&mut magic).is_ok() && &magic == b"PAR1")
}

pub(super) fn schema_of(path: &Path) -> Result<Schema, StageError> {
    let builder = open(path)?;
    let mut schema = Schema::new();
    for field in builder.schema().fields() {
        if schema.insert(field.name().clone(), kind_of(field.data_type())).is_some() {
            return Err(broken(path, format_args!("it has the column `{}` twice", field.name())));
        }
    }
    Ok(schema)
}

pub(super) fn read(
    path: &Path,
    columns: &Columns,
    context: ReadContext<'_>,
    take: TakeRows<'_>,
) -> Result<(), StageError> {
    let builder = open(path)?;
    let fields = builder.schema().fields().clone();
    let used = |name: &str| columns.get(name).is_some_and(|column| column.id || !column.fields.is_empty());
    let roots = fields.iter().enumerate().filter(|(_, field)| used(field.name())).map(|(index, _)| index);
    let projection = ProjectionMask::roots(builder.parquet_schema(), roots);
    let images = fields.iter().any(|field| used(field.name()) && holds_images(&kind_of(field.data_type())));
    let batch_rows = if images { IMAGE_ROWS } else { BATCH_ROWS };
    let reader = builder.with_projection(projection).with_batch_size(batch_rows).build();
    let mut reader = reader.map_err(|error| broken(path, error))?;
    let source = Images { table: path, context };
    let mut first = 1;
    let mut rows = RowBuilder::new(columns);
    while let Some(batch) = next_batch(path, &mut reader)? {
        let mut arrays = Vec::with_capacity(batch.num_columns());
        for (field, array) in batch.schema().fields().iter().zip(batch.columns()) {
            let values = values_of(array, source).map_err(|reason| reason.at(path, first, field.name()))?;
            arrays.push((columns.get_index_of(field.name()), values.into_iter()));
        }
        for place in first..first + batch.num_rows() as u64 {
            rows.begin();
            for (index, values) in &mut arrays {
                let (Some(index), Some(value)) = (*index, values.next()) else { continue };
                rows.first(index);
                let name = || columns.get_index(index).map(|(name, _)| name.clone()).unwrap_or_default();
                rows.put(index, value).map_err(|reason| Reason::Cell(0, reason).at(path, place, &name()))?;
            }
            rows.end(place).map_err(|(column, reason)| Reason::Cell(0, reason).at(path, place, &column))?;
        }
        first += batch.num_rows() as u64;
        if take(rows.take())?.is_break() {
            return Ok(());
        }
    }
    Ok(())
}

/// The image files that exist beside the table and that it may name instead of holding their bytes: the paths of all row
/// groups in which some image has no bytes.
pub(super) fn image_files(path: &Path) -> Result<Vec<PathBuf>, StageError> {
    let builder = open(path)?;
    let descriptor = builder.parquet_schema();
    let leaves: Vec<(usize, String)> =
        (0..descriptor.num_columns()).map(|leaf| (leaf, descriptor.column(leaf).path().string())).collect();
    let image = |leaf: &(usize, String)| leaf.1.strip_suffix(".bytes").map(|root| (leaf.0, format!("{root}.path")));
    let pairs = leaves
        .iter()
        .filter_map(image)
        .filter_map(|(bytes, wanted)| leaves.iter().find(|(_, name)| *name == wanted).map(|(path, _)| (bytes, *path)));
    let lacks_bytes = |group: &RowGroupMetaData, leaf: usize| {
        group.column(leaf).statistics().and_then(|statistics| statistics.null_count_opt()) != Some(0)
    };
    let mut files = Vec::new();
    for (bytes, leaf) in pairs.collect::<Vec<_>>() {
        let groups = builder.metadata().row_groups().iter().enumerate();
        let groups: Vec<usize> =
            groups.filter(|(_, group)| lacks_bytes(group, bytes)).map(|(index, _)| index).collect();
        if groups.is_empty() {
            continue;
        }
        let paths = open(path)?;
        let projection = ProjectionMask::leaves(paths.parquet_schema(), [leaf]);
        let reader = paths.with_row_groups(groups).with_projection(projection).build();
        let mut reader = reader.map_err(|error| broken(path, error))?;
        while let Some(batch) = next_batch(path, &mut reader)? {
            batch.columns().iter().for_each(|column| {
                collect_texts(column, &mut |name| {
                    let file = image::beside(path, name);
                    if file.is_file() {
                        files.push(file);
                    }
                })
            });
        }
    }
    Ok(files)
}

/// Gives every text in a column, however deep it lies.
fn collect_texts(column: &ArrayRef, take: &mut dyn FnMut(&str)) {
    if let Some(fields) = column.as_struct_opt() {
        return fields.columns().iter().for_each(|inner| collect_texts(inner, take));
    }
    if let Some(list) = column.as_list_opt::<i32>() {
        return collect_texts(list.values(), take);
    }
    if let Some(list) = column.as_list_opt::<i64>() {
        return collect_texts(list.values(), take);
    }
    if let Ok(texts) = cast(column, &DataType::LargeUtf8)
        && let Some(texts) = texts.as_string_opt::<i64>()
    {
        texts.iter().flatten().for_each(take);
    }
}

fn holds_images(kind: &FieldKind) -> bool {
    match kind {
        FieldKind::List(inner) => holds_images(inner),
        // A struct may hold them.
        kind => matches!(kind, FieldKind::Image | FieldKind::Json),
    }
}

fn open(path: &Path) -> Result<ParquetRecordBatchReaderBuilder<File>, StageError> {
    let file = File::open(path).map_err(StageError::io("read", path))?;
    guarded(path, || ParquetRecordBatchReaderBuilder::try_new(file))?.map_err(|error| broken(path, error))
}

/// The next batch; `None` at the end.
fn next_batch(path: &Path, reader: &mut ParquetRecordBatchReader) -> Result<Option<RecordBatch>, StageError> {
    guarded(path, || reader.next())?.transpose().map_err(|error| broken(path, error))
}

/// The library panics on some damaged files: a user's file is never the program's end.
fn guarded<T>(path: &Path, read: impl FnOnce() -> T) -> Result<T, StageError> {
    std::panic::catch_unwind(std::panic::AssertUnwindSafe(read)).map_err(|panic| {
        let reason = panic.downcast_ref::<&str>().map(|reason| (*reason).to_owned());
        let reason = reason.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_default();
        broken(path, format_args!("the file seems to be damaged: {reason}"))
    })
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

impl Reason {
    /// The error, in a batch whose first row is `first`.
    fn at(self, path: &Path, first: u64, column: &str) -> StageError {
        match self {
            Reason::Stage(error) => error,
            Reason::Cell(row, reason) => StageError::failed(format!(
                "{}: row {}, column `{column}`: {reason}",
                path.display(),
                first + row as u64
            )),
        }
    }
}

/// Where images come from and go to.
#[derive(Clone, Copy)]
struct Images<'a> {
    /// The file: paths of images are relative to it.
    table: &'a Path,
    context: ReadContext<'a>,
}

impl From<arrow::error::ArrowError> for Reason {
    fn from(error: arrow::error::ArrowError) -> Self {
        Reason::Cell(0, error.to_string())
    }
}

/// The values of a column, one per row.
fn values_of(column: &ArrayRef, source: Images<'_>) -> Result<Vec<Value>, Reason> {
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
        kind if is_bytes(kind) => images(column, source)?,
        DataType::Struct(fields) if is_image(fields) => image_structs(column.as_struct(), source)?,
        DataType::Struct(_) => maps(column.as_struct(), source)?,
        DataType::List(_) | DataType::LargeList(_) | DataType::FixedSizeList(..) => {
            let lists: Vec<Option<ArrayRef>> = match column.data_type() {
                DataType::List(_) => column.as_list::<i32>().iter().collect(),
                DataType::LargeList(_) => column.as_list::<i64>().iter().collect(),
                _ => column.as_fixed_size_list().iter().collect(),
            };
            let list =
                |list: Option<ArrayRef>| list.map_or(Ok(Value::Null), |list| values_of(&list, source).map(Value::List));
            lists.into_iter().map(list).collect::<Result<_, _>>()?
        }
        DataType::Dictionary(_, value) => values_of(&cast(column, value)?, source)?,
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

fn images(column: &ArrayRef, source: Images<'_>) -> Result<Vec<Value>, Reason> {
    let bytes = cast(column, &DataType::LargeBinary)?;
    let bytes = bytes.as_binary::<i64>();
    let store = |bytes: Option<&[u8]>| bytes.map_or(Ok(Value::Null), |bytes| image::store(bytes, source.context.blobs));
    bytes.iter().map(|bytes| store(bytes).map_err(Reason::Stage)).collect()
}

fn image_structs(column: &StructArray, source: Images<'_>) -> Result<Vec<Value>, Reason> {
    let (Some(bytes), Some(path)) = (column.column_by_name("bytes"), column.column_by_name("path")) else {
        return Ok(vec![Value::Null; column.len()]);
    };
    let mut values = if bytes.data_type().is_null() { vec![Value::Null; column.len()] } else { images(bytes, source)? };
    let paths = texts(path)?;
    for (row, value) in values.iter_mut().enumerate() {
        if column.is_null(row) {
            *value = Value::Null;
        } else if let (Value::Null, Some(Value::Text(name))) = (&*value, paths.get(row)) {
            let file = image::beside(source.table, name);
            let bytes = image::read_image(&file).map_err(|error| {
                let reason = format!(
                    "the image is given by its path only, and `{}` cannot be read: {error}; embed its bytes in the file \
                     (`datasets` does so on `push_to_hub`) or put it there",
                    file.display()
                );
                Reason::Cell(row, reason)
            })?;
            *value = image::store(&bytes, source.context.blobs).map_err(Reason::Stage)?;
        }
    }
    Ok(values)
}

fn maps(column: &StructArray, source: Images<'_>) -> Result<Vec<Value>, Reason> {
    let mut rows = vec![std::collections::BTreeMap::new(); column.len()];
    for (field, inner) in column.fields().iter().zip(column.columns()) {
        for (row, value) in rows.iter_mut().zip(values_of(inner, source)?) {
            row.insert(field.name().clone(), value);
        }
    }
    let rows = rows.into_iter().enumerate();
    Ok(rows.map(|(row, map)| if column.is_null(row) { Value::Null } else { Value::Map(map) }).collect())
}
