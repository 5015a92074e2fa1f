//! Tokenizers as strangers write them: the ids stay transformers', and what the library does not survive is an error.

use std::path::PathBuf;

use serde_json::{Value, json};

use super::*;

const TEXT: &str = "What is 3 + 4, and why? <|im_end|>";

fn reference() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../tests/reference/model/tiny")
}

fn tiny() -> Value {
    serde_json::from_slice(&std::fs::read(reference().join(TOKENIZER_FILE)).unwrap()).unwrap()
}

/// The model `tiny` with another `tokenizer.json`, which is kept in `folder`.
fn load(tokenizer: &Value, folder: &tempfile::TempDir) -> Result<Tokenizer> {
    let mut files = ModelFiles::from_folder(&reference()).unwrap();
    let path = folder.path().join(TOKENIZER_FILE);
    std::fs::write(&path, tokenizer.to_string()).unwrap();
    files.files.insert(TOKENIZER_FILE.to_owned(), path);
    Tokenizer::load(&files, &[])
}

fn with(field: &str, value: Value) -> Value {
    let mut tokenizer = tiny();
    tokenizer[field] = value;
    tokenizer
}

#[test]
fn cutting_filling_up_and_dropout_change_no_id() {
    let folder = tempfile::tempdir().unwrap();
    let expected = load(&tiny(), &folder).unwrap().encode(TEXT).unwrap();
    let mut dropout = tiny();
    dropout["model"]["dropout"] = json!(0.9);
    let padding = |strategy: Value| json!({"strategy": strategy, "direction": "Left", "pad_to_multiple_of": 64, "pad_id": 0, "pad_type_id": 0, "pad_token": "x"});
    let truncation = |length: usize, stride: usize| json!({"direction": "Right", "max_length": length, "strategy": "LongestFirst", "stride": stride});
    for tokenizer in [
        dropout,
        with("padding", padding(json!("BatchLongest"))),
        with("padding", padding(json!({"Fixed": 1_u64 << 40}))),
        with("truncation", truncation(4, 0)),
        with("truncation", truncation(1, 7)),
    ] {
        let loaded = load(&tokenizer, &folder).unwrap();
        assert_eq!(loaded.encode(TEXT).unwrap(), expected);
        let places = loaded.encode_with_places(TEXT).unwrap();
        assert_eq!(places.into_iter().map(|(token, _)| token).collect::<Vec<_>>(), expected);
    }
}

#[test]
fn files_that_the_library_does_not_survive_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let replace = |pattern: Value, content: &str| json!({"type": "Replace", "pattern": pattern, "content": content});
    let sequence = |normalizers: Vec<Value>| json!({"type": "Sequence", "normalizers": normalizers});
    let added = |content: &str, id: u64| {
        let mut tokenizer = tiny();
        let token = json!({"id": id, "content": content, "single_word": false, "lstrip": false, "rstrip": false,
            "normalized": false, "special": false});
        tokenizer["added_tokens"].as_array_mut().unwrap().push(token);
        tokenizer
    };
    for (tokenizer, expected) in [
        (with("pre_tokenizer", json!({"type": "FixedLength", "length": 0})), "`pre_tokenizer.length` is 0"),
        (with("normalizer", replace(json!({"String": ""}), "x")), "`normalizer.pattern` is empty"),
        (
            with("decoder", sequence(vec![replace(json!({"Regex": ""}), "x")])),
            "`decoder.normalizers[0].pattern` is empty",
        ),
        (with("normalizer", replace(json!({"Regex": "."}), &"y".repeat(100_000))), "`normalizer` can make 100000"),
        (with("normalizer", sequence(vec![replace(json!({"Regex": "."}), "yy"); 40])), "`normalizer` can make"),
        (with("normalizer", json!({"type": "Prepend", "prepend": "x".repeat(1000)})), "`normalizer.prepend` is longer"),
        (with("normalizer", json!({"type": "Precompiled"})), "`normalizer.precompiled_charsmap` is missing"),
        (with("normalizer", json!({"type": "Precompiled", "precompiled_charsmap": ""})), "is cut short"),
        (with("normalizer", json!({"type": "Precompiled", "precompiled_charsmap": "AAAA"})), "is cut short"),
        (
            with("normalizer", json!({"type": "Precompiled", "precompiled_charsmap": "/////w=="})),
            "table of 4294967295 bytes",
        ),
        (
            with("normalizer", json!({"type": "Precompiled", "precompiled_charsmap": "BAAAAAAAAAD/"})),
            "expected a fast tokenizer",
        ),
        (with("model", json!({"type": "BPE", "vocab": {"a": 0}, "merges": [["a", "a"]]})), "expected a fast tokenizer"),
        (with("model", json!({})), "expected a fast tokenizer"),
        (added("What", 4_000_000_000), "`added_tokens` gives `What` the id 4000000000"),
        (added("<|im_end|>", 0), "`added_tokens` gives `<|im_end|>` the id 0"),
        (json!([]), "expected a fast tokenizer"),
    ] {
        let error = load(&tokenizer, &folder).unwrap_err().to_string();
        let place = folder.path().join(TOKENIZER_FILE).display().to_string();
        assert!(error.contains(expected) && error.contains(&place), "{error}\nexpected {expected}");
    }
}

#[test]
fn a_tokenizer_that_fails_on_a_text_is_an_error_of_that_text() {
    let folder = tempfile::tempdir().unwrap();
    let normalizer = json!({"type": "Replace", "pattern": {"Regex": "x*"}, "content": "y"});
    let loaded = load(&with("normalizer", normalizer), &folder).unwrap();
    // Whatever the library makes of it, nothing panics.
    for text in ["", "a", "axa", "é☃"] {
        if let Err(error) = loaded.encode(text) {
            assert!(error.to_string().contains(TOKENIZER_FILE), "{error}");
        }
    }
    assert!(loaded.decode(&[u32::MAX, 0], true).is_ok());
}
