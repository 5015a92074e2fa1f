//! The work of the filter `max-words` as an Extism plugin: what it says is an empty text to keep, else the reason for the drop.

use extism_pdk::{FnResult, Json, plugin_fn};

const WORDS_MAX: usize = 500;

/// One record a call, its text as it is.
#[plugin_fn]
pub fn text(text: String) -> FnResult<String> {
    Ok(verdict(&text))
}

/// A batch a call, both ways as JSON.
#[plugin_fn]
pub fn batch(Json(texts): Json<Vec<String>>) -> FnResult<Json<Vec<String>>> {
    Ok(Json(texts.iter().map(|text| verdict(text)).collect()))
}

fn verdict(text: &str) -> String {
    if text.split_whitespace().zip(0..=WORDS_MAX).count() > WORDS_MAX {
        format!("more than {WORDS_MAX} words")
    } else {
        String::new()
    }
}
