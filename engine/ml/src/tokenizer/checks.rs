//! What a `tokenizer.json` may not say: settings over which the tokenizers library panics or asks for all memory, and ids
//! of added tokens that it would change.

use base64::Engine;
use serde::Deserialize;
use serde_json::Value;

/// How many characters the normalizer or decoder may make of one: it runs before anything could bound the text's length.
const MOST_GROWTH: f64 = 4096.0;
/// Characters that a normalizer may put before a text.
const LONGEST_PREFIX: usize = 256;

/// The parts of a `tokenizer.json` that are looked at; the vocabulary, which is most of the file, is passed over.
#[derive(Deserialize)]
pub(super) struct Declared {
    #[serde(default)]
    normalizer: Value,
    #[serde(default)]
    pre_tokenizer: Value,
    #[serde(default)]
    decoder: Value,
    #[serde(default)]
    added_tokens: Value,
}

impl Declared {
    /// # Errors
    /// What is wrong with the file, with the field's name.
    pub(super) fn read(bytes: &[u8]) -> Result<Self, String> {
        let declared: Declared =
            serde_json::from_slice(bytes).map_err(|error| format!("expected a fast tokenizer's JSON: {error}"))?;
        let parts = [
            ("normalizer", &declared.normalizer),
            ("pre_tokenizer", &declared.pre_tokenizer),
            ("decoder", &declared.decoder),
        ];
        for (name, part) in parts {
            let growth = check(part, name)?;
            if growth > MOST_GROWTH {
                return Err(format!(
                    "`{name}` can make {growth:.0} characters of one, expected at most {MOST_GROWTH}: a short text would \
                     fill the memory"
                ));
            }
        }
        Ok(declared)
    }

    /// The added tokens with the ids that the file gives them. Empty ones are left out, as the library does.
    pub(super) fn added_tokens(&self) -> impl Iterator<Item = (&str, u64)> {
        let list = self.added_tokens.as_array().into_iter().flatten();
        list.filter_map(|token| Some((token.get("content")?.as_str()?, token.get("id")?.as_u64()?)))
            .filter(|(content, _)| !content.is_empty())
    }
}

/// Checks a component and those in it; how many characters it can make of one.
fn check(component: &Value, path: &str) -> Result<f64, String> {
    let mut growth = own_check(component, path)?;
    let inner: Vec<(String, &Value)> = match component {
        Value::Object(fields) => fields.iter().map(|(name, value)| (format!("{path}.{name}"), value)).collect(),
        Value::Array(list) => {
            list.iter().enumerate().map(|(index, value)| (format!("{path}[{index}]"), value)).collect()
        }
        _ => Vec::new(),
    };
    for (path, value) in inner {
        growth *= check(value, &path)?;
    }
    Ok(growth)
}

fn own_check(component: &Value, path: &str) -> Result<f64, String> {
    let text = |name: &str| component.get(name).and_then(Value::as_str);
    match text("type") {
        Some("FixedLength") if component.get("length").and_then(Value::as_u64) == Some(0) => {
            Err(format!("`{path}.length` is 0, expected 1 or more"))
        }
        Some("Replace") => {
            let pattern = |kind: &str| component.get("pattern").and_then(|pattern| pattern.get(kind)?.as_str());
            if pattern("String").or(pattern("Regex")) == Some("") {
                return Err(format!("`{path}.pattern` is empty, expected something to replace"));
            }
            let replaced = pattern("String").map_or(1, |pattern| pattern.chars().count());
            let content = text("content").map_or(0, |content| content.chars().count());
            Ok((content as f64 / replaced as f64).max(1.0))
        }
        Some("Prepend") if text("prepend").is_some_and(|prefix| prefix.chars().count() > LONGEST_PREFIX) => Err(
            format!("`{path}.prepend` is longer than {LONGEST_PREFIX} characters, expected a short mark such as `▁`"),
        ),
        Some("Precompiled") => check_precompiled(text("precompiled_charsmap"), path).map(|()| 1.0),
        _ => Ok(1.0),
    }
}

/// A table of SentencePiece: the length of a trie in bytes, the trie, and the texts that it leads to.
fn check_precompiled(charsmap: Option<&str>, path: &str) -> Result<(), String> {
    let wrong =
        |what: &str| Err(format!("`{path}.precompiled_charsmap` {what}, expected SentencePiece's table in base64"));
    let Some(charsmap) = charsmap else { return wrong("is missing") };
    let Ok(bytes) = base64::engine::general_purpose::STANDARD.decode(charsmap) else { return wrong("is no base64") };
    let Some((length, rest)) = bytes.split_first_chunk() else { return wrong("is cut short") };
    let length = u32::from_le_bytes(*length) as usize;
    if length == 0 || length > rest.len() {
        return wrong(&format!("announces a table of {length} bytes and holds {}", rest.len()));
    }
    Ok(())
}
