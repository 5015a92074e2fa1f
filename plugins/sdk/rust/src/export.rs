//! What the exports of a guest do; `world` names them for each kind. Not for plugin authors.

use std::sync::OnceLock;

use crate::options::one_line;
use crate::{Column, Filter, Info, Level, Mapper, Options, Reward, Row, Score, Setup, Verdict, log};

/// The export `describe`.
pub fn describe<P: Options>(name: &str, version: &str, sink: fn(Level, &str)) -> Info {
    log::start(sink);
    Info {
        name: name.to_owned(),
        version: version.to_owned(),
        summary: one_line(P::SUMMARY),
        config_schema: Some(P::schema()),
    }
}

/// The export `configure`: fills the slot from which the calls take the plugin. `columns` checks it, and says what it reads
/// and writes.
pub fn configure<P: Options>(
    slot: &OnceLock<P>,
    json: &str,
    sink: fn(Level, &str),
    columns: fn(&P) -> Result<(Vec<Column>, Vec<Column>), String>,
) -> Result<Setup, String> {
    log::start(sink);
    let plugin = P::from_json(json)?;
    let (reads, writes) = columns(&plugin)?;
    slot.set(plugin).map_err(|_| "the plugin was configured twice".to_owned())?;
    Ok(Setup { reads, writes })
}

fn configured<P>(slot: &OnceLock<P>) -> Result<&P, String> {
    slot.get().ok_or_else(|| "the plugin was not configured".to_owned())
}

/// The export `filter`.
pub fn filter<P: Filter>(slot: &OnceLock<P>, batch: &[Row]) -> Result<Vec<Verdict>, String> {
    let plugin = configured(slot)?;
    Ok(batch.iter().map(|row| verdict(plugin, row)).collect())
}

/// One record's verdict. An error about a record is its drop, as the engine would call it, which spares the engine the search
/// for the record. A function of its own, so that the plugin's loops have the registers to themselves.
#[inline(never)]
fn verdict<P: Filter>(plugin: &P, row: &Row) -> Verdict {
    plugin.keep(row).unwrap_or_else(|error| Verdict::Drop(format!("plugin error: {error}")))
}

/// The export `transform`. The id of a returned row is not used.
pub fn transform<P: Mapper>(slot: &OnceLock<P>, batch: &[Row]) -> Result<Vec<Vec<Row>>, String> {
    let plugin = configured(slot)?;
    batch.iter().map(|row| rows(plugin, row)).collect()
}

#[inline(never)]
fn rows<P: Mapper>(plugin: &P, row: &Row) -> Result<Vec<Row>, String> {
    let rows = plugin.map(row)?;
    Ok(rows.into_iter().map(|fields| Row { id: String::new(), fields: fields.0 }).collect())
}

/// The export `score`.
pub fn score<P: Reward>(slot: &OnceLock<P>, batch: &[Row]) -> Result<Vec<Score>, String> {
    let plugin = configured(slot)?;
    batch.iter().map(|row| of(plugin, row)).collect()
}

#[inline(never)]
fn of<P: Reward>(plugin: &P, row: &Row) -> Result<Score, String> {
    plugin.score(row)
}
