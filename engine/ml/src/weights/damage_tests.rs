//! Damaged, incomplete and hostile model folders: each is one error that names the file and what is wrong in it.

use burn::tensor::Device;
use safetensors::Dtype;
use serde_json::{Value, json};

use super::tests::{Tensors, source, tensors, write_tensors};
use super::{INDEX_FILE, SINGLE_FILE};
use crate::model::Model;
use crate::types::ModelFiles;

const NORM: &str = "model.layers.1.input_layernorm.weight";

/// The published names of the tiny model, and the prefix that its file gives them.
struct Bench {
    place: tempfile::TempDir,
    original: Tensors,
}

impl Bench {
    fn new() -> Self {
        let published = source("tiny");
        let place = tempfile::tempdir().unwrap();
        std::fs::copy(&published.files["config.json"], place.path().join("config.json")).unwrap();
        let named = |name: &String| crate::model::parameters::published_name(name);
        let original = tensors(&published).iter().map(|(name, tensor)| (named(name), tensor.clone())).collect();
        Bench { place, original }
    }

    fn path(&self, name: &str) -> std::path::PathBuf {
        self.place.path().join(name)
    }

    fn error(&self) -> String {
        let files = ModelFiles::from_folder(self.place.path()).unwrap();
        match Model::load(&files, &Device::flex()) {
            Err(error) => error.to_string(),
            Ok(_) => "it loads".to_owned(),
        }
    }

    /// A file whose header is `header`, with `bytes` bytes behind it.
    fn write_raw(&self, header: &str, bytes: usize) {
        let mut file = (header.len() as u64).to_le_bytes().to_vec();
        file.extend(header.as_bytes());
        file.resize(file.len() + bytes, 0);
        std::fs::write(self.path(SINGLE_FILE), file).unwrap();
    }
}

#[test]
fn tensors_that_do_not_fit_are_all_named() {
    type Damage = fn(&mut Tensors);
    let cases: [(&str, Damage, &[&str]); 8] = [
        (
            "one missing",
            |all| drop(all.remove(NORM)),
            &["1 missing from `model.safetensors`: `model.layers.1.input_layernorm.weight`"],
        ),
        (
            "a head missing",
            |all| drop(all.remove("lm_head.weight")),
            &["1 missing from `model.safetensors`: `lm_head.weight`"],
        ),
        (
            "another shape",
            |all| drop(all.insert(NORM.to_owned(), (Dtype::F32, vec![32], vec![0; 128]))),
            &[
                "1 unusable: `model.layers.1.input_layernorm.weight` in `model.safetensors` has shape [32], expected [64]",
            ],
        ),
        (
            "the same size in another shape",
            |all| drop(all.insert(NORM.to_owned(), (Dtype::F32, vec![64, 1], vec![0; 256]))),
            &["has shape [64, 1], expected [64]"],
        ),
        (
            "another type",
            |all| drop(all.insert(NORM.to_owned(), (Dtype::U8, vec![64], vec![0; 64]))),
            &["`model.layers.1.input_layernorm.weight` in `model.safetensors` has type U8, expected F32, BF16 or F16"],
        ),
        (
            "too much",
            |all| drop(all.insert("model.layers.7.norm.weight".to_owned(), (Dtype::F32, vec![1], vec![0; 4]))),
            &["1 not part of the model: `model.layers.7.norm.weight` in `model.safetensors`"],
        ),
        (
            "saved under both names",
            |all| {
                let tensor = all[NORM].clone();
                all.insert(NORM.replace("model.", "model.language_model."), tensor);
            },
            &["`model.layers.1.input_layernorm.weight` is saved twice: as ", "model.language_model.layers.1"],
        ),
        (
            "several at once",
            |all| {
                all.retain(|name, _| !name.starts_with("model.layers.0."));
                all.insert(NORM.to_owned(), (Dtype::F64, vec![64], vec![0; 512]));
                all.insert("score.weight".to_owned(), (Dtype::F32, vec![1], vec![0; 4]));
            },
            &[
                "12 missing from",
                "; 1 not part of the model: `score.weight`",
                "; 1 unusable: `model.layers.1",
                "has type F64",
            ],
        ),
    ];
    let bench = Bench::new();
    for (case, damage, expected) in cases {
        let mut damaged = bench.original.clone();
        damage(&mut damaged);
        write_tensors(&damaged, &bench.path(SINGLE_FILE));
        let message = bench.error();
        for part in expected {
            assert!(message.contains(part), "{case}: {message}");
        }
    }
    write_tensors(&bench.original, &bench.path(SINGLE_FILE));
    assert_eq!(bench.error(), "it loads");
}

#[test]
fn a_file_that_is_no_safetensors_file_is_named_with_what_is_wrong_in_it() {
    let bench = Bench::new();
    let tensor =
        |dtype: &str, shape: Value, offsets: [u64; 2]| json!({"dtype": dtype, "shape": shape, "data_offsets": offsets});
    let fine = || tensor("F32", json!([2]), [0, 8]);
    let headers = [
        (
            json!({"a": fine(), "b": tensor("F32", json!([2]), [4, 12])}),
            12,
            "tensor `b` lies at bytes 4 to 12, expected to begin at 8",
        ),
        (
            json!({"a": fine(), "b": tensor("F32", json!([2]), [16, 24])}),
            24,
            "tensor `b` lies at bytes 16 to 24, expected",
        ),
        (json!({"a": tensor("F32", json!([2]), [8, 0])}), 0, "tensor `a` lies at bytes 8 to 0"),
        (json!({"a": tensor("F32", json!([3]), [0, 8])}), 8, "tensor `a` has 8 bytes, expected 12: F32 of shape [3]"),
        (json!({"a": tensor("BF16", json!([2]), [0, 8])}), 8, "tensor `a` has 8 bytes, expected 4: BF16 of shape [2]"),
        (
            json!({"a": tensor("F32", json!([u64::MAX, u64::MAX]), [0, 8])}),
            8,
            "tensor `a` has 8 bytes, expected more than any file has",
        ),
        (json!({"a": tensor("F32", json!([1u64 << 62]), [0, u64::MAX])}), 8, "tensor `a`"),
        (
            json!({"a": tensor("Q4_K", json!([2]), [0, 8])}),
            8,
            "tensor `a` has a type or a shape that safetensors does not know",
        ),
        (json!({"a": tensor("F32", json!([-2]), [0, 8])}), 8, "tensor `a` has a type or a shape"),
        (json!({"a": fine()}), 7, "its header describes 8 bytes of tensors, but 7 follow: cut short or overwritten"),
        (json!({"a": fine()}), 9, "its header describes 8 bytes of tensors, but 9 follow"),
        (json!([1, 2]), 0, "its header describes no tensors"),
        (json!({"a": 5}), 0, "its header describes no tensors"),
        (json!({"a": {"dtype": "F32"}}), 0, "its header describes no tensors"),
    ];
    for (header, bytes, expected) in headers {
        bench.write_raw(&header.to_string(), bytes);
        let message = bench.error();
        assert!(message.starts_with("`model.safetensors`: ") && message.contains(expected), "{header}: {message}");
    }
    bench.write_raw("{\"a\": ", 0);
    assert!(bench.error().contains("its header describes no tensors: "), "{}", bench.error());
    bench.write_raw(&"[".repeat(100_000), 0);
    assert!(bench.error().contains("its header describes no tensors: "), "{}", bench.error());
    let no_text = [&2u64.to_le_bytes()[..], &[0xff, 0xfe]].concat();
    let large = [&(1u64 << 62).to_le_bytes()[..], b"{}"].concat();
    let longer = [&50u64.to_le_bytes()[..], b"{}"].concat();
    let every = [&u64::MAX.to_le_bytes()[..], b"{}"].concat();
    for (bytes, expected) in [
        (&b""[..], "it has only 0 bytes"),
        (b"abc", "it has only 3 bytes"),
        (&no_text, "its header is no text"),
        (&large, "announce a header of 4611686018427387904 bytes, and it has 2 more"),
        (&longer, "announce a header of 50 bytes, and it has 2 more"),
        (&every, "announce a header of 18446744073709551615 bytes"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 5\n", "run `git lfs pull`"),
        (b"PK\x03\x04model.pt and so on", "convert it to safetensors"),
        (b"<!DOCTYPE html><html>not found</html>", "of another format"),
    ] {
        std::fs::write(bench.path(SINGLE_FILE), bytes).unwrap();
        let message = bench.error();
        assert!(message.starts_with("`model.safetensors`: ") && message.contains(expected), "{message}");
    }
}

/// Wherever a good file is cut short or has a bit turned in its header, there is an error or the same names and shapes.
#[test]
fn cuts_and_turned_bits_never_panic() {
    let bench = Bench::new();
    write_tensors(&bench.original, &bench.path(SINGLE_FILE));
    let whole = std::fs::read(bench.path(SINGLE_FILE)).unwrap();
    let header = 8 + u64::from_le_bytes(whole[..8].try_into().unwrap()) as usize;
    let written = |bytes: &[u8]| {
        std::fs::write(bench.path(SINGLE_FILE), bytes).unwrap();
        bench.error()
    };
    for length in [1, 7, 8, 9, 100, header - 1, header, header + 1, whole.len() / 2, whole.len() - 1] {
        assert_ne!(written(&whole[..length]), "it loads", "cut at {length}");
    }
    let mut damaged = whole.clone();
    for place in (0..header).step_by(37) {
        damaged[place] ^= 1 << (place % 7);
        // A turned bit of what stands in the metadata, or a space, may do nothing.
        let message = written(&damaged);
        assert!(message == "it loads" || message.contains("safetensors"), "byte {place}: {message}");
        damaged[place] = whole[place];
    }
}

#[test]
fn an_index_leads_to_files_of_the_folder_only() {
    let bench = Bench::new();
    let half = |rest: usize| -> Tensors {
        let part = bench.original.iter().enumerate().filter(|(index, _)| index % 2 == rest);
        part.map(|(_, (name, tensor))| (name.clone(), tensor.clone())).collect()
    };
    let (first, second) = (half(0), half(1));
    write_tensors(&first, &bench.path("a.safetensors"));
    write_tensors(&second, &bench.path("b.safetensors"));
    let index = |map: Value| std::fs::write(bench.path(INDEX_FILE), json!({"weight_map": map}).to_string()).unwrap();
    for (map, expected) in [
        (
            json!({"x": "a.safetensors", "y": "c.safetensors"}),
            "gives `y` the file `c.safetensors`, which the model does not have",
        ),
        (
            json!({"x": "../a.safetensors"}),
            "gives `x` the file `../a.safetensors`, expected the name of a file in the model's",
        ),
        (
            json!({"x": "/etc/passwd"}),
            "gives `x` the file `/etc/passwd`, expected the name of a file in the model's folder",
        ),
        (json!({"x": ""}), "gives `x` the file ``, expected the name"),
        (json!({"x": 5}), "gives `x` the file 5, expected a file's name"),
        (json!({}), "`weight_map` names no tensor"),
        (json!([]), "expected an object `weight_map`"),
        (json!({"x": "a.safetensors"}), "missing from `a.safetensors`"),
    ] {
        index(map.clone());
        assert!(bench.error().contains(expected), "{map}: {}", bench.error());
    }
    index(json!({"x": "a.safetensors", "y": "b.safetensors"}));
    assert_eq!(bench.error(), "it loads");
    let mut twice = second;
    twice.extend(first.into_iter().find(|(name, _)| name.as_str() != NORM));
    write_tensors(&twice, &bench.path("b.safetensors"));
    let message = bench.error();
    assert!(message.contains(" is saved twice: as ") && message.contains("in `a.safetensors`"), "{message}");
    assert!(message.contains("in `b.safetensors`"), "{message}");
    // The single file counts where both stand, as in transformers.
    write_tensors(&bench.original, &bench.path(SINGLE_FILE));
    assert_eq!(bench.error(), "it loads");
    std::fs::remove_file(bench.path(SINGLE_FILE)).unwrap();
    std::fs::write(bench.path(INDEX_FILE), "{").unwrap();
    assert!(bench.error().contains("`model.safetensors.index.json`: expected JSON"), "{}", bench.error());
    std::fs::remove_file(bench.path(INDEX_FILE)).unwrap();
    std::fs::remove_file(bench.path("a.safetensors")).unwrap();
    let message = bench.error();
    assert!(
        message.contains("expected the file `model.safetensors`") && message.contains("only `b.safetensors`"),
        "{message}"
    );
}

#[test]
fn a_model_that_no_machine_holds_is_not_drawn() {
    let bench = Bench::new();
    let mut config: Value = serde_json::from_slice(&std::fs::read(bench.path("config.json")).unwrap()).unwrap();
    config["num_hidden_layers"] = json!(4096);
    config["intermediate_size"] = json!(1 << 20);
    std::fs::write(bench.path("config.json"), config.to_string()).unwrap();
    let files = ModelFiles::from_folder(bench.place.path()).unwrap().with_init(1);
    let message = Model::load(&files, &Device::flex()).unwrap_err().to_string();
    assert!(
        message.starts_with("`config.json`: it describes a model of ") && message.contains("can be drawn"),
        "{message}"
    );
}
