//! Model folders that are damaged: whoever is given one says which, what is wrong, and before anything is computed.

use std::path::Path;

use serde_json::json;

use crate::support::{Workplace, files, root};

const MODEL: &str = "examples/models/tiny-reasoner";

/// A copy of a model, in the folder `model` of the workplace, that `damage` has changed.
fn damaged(damage: impl Fn(&Path)) -> Workplace {
    let workplace = Workplace::new();
    let folder = workplace.path("model");
    std::fs::create_dir(&folder).expect("the folder can be written");
    for file in files(&root().join(MODEL), "") {
        std::fs::copy(&file, folder.join(file.file_name().expect("a name"))).expect("the file can be copied");
    }
    damage(&folder);
    workplace.write("problems.jsonl", "{\"question\": \"What is 3 + 4?\"}\n");
    workplace.write(
        "graph.toml",
        "[models.base]\npath = \"model\"\n[nodes.problems]\nkind = \"read\"\npath = \"problems.jsonl\"\n\
         [nodes.samples]\nkind = \"reasoning-sample\"\ninput = \"problems\"\nmodel = \"base\"\n",
    );
    workplace
}

fn cut_short(folder: &Path) {
    let weights = std::fs::File::options().write(true).open(folder.join("model.safetensors")).expect("weights");
    let length = weights.metadata().expect("a length").len();
    weights.set_len(length - 100).expect("the file can be cut");
}

fn break_index(folder: &Path) {
    std::fs::rename(folder.join("model.safetensors"), folder.join("model-1.safetensors")).expect("weights");
    let index = json!({"weight_map": {"lm_head.weight": "model-2.safetensors"}});
    std::fs::write(folder.join("model.safetensors.index.json"), index.to_string()).expect("the folder can be written");
}

#[test]
fn damaged_models_are_found_before_a_run() {
    let without = |folder: &Path| std::fs::remove_file(folder.join("tokenizer.json")).expect("a file");
    let cases = [
        (&without as &dyn Fn(&Path), "no `tokenizer.json`"),
        (&cut_short, "`model.safetensors`: its header describes"),
        (&break_index, "the file `model-2.safetensors`, which the model does not have"),
    ];
    for (damage, expected) in cases {
        let workplace = damaged(damage);
        let (graph, folder) = (workplace.path("graph.toml"), workplace.path("model"));
        let (graph, folder) = (graph.to_str().unwrap(), folder.to_str().unwrap());
        for command in ["check", "plan", "run"] {
            let ran = workplace.ruminate(&[command, graph]).expect(2);
            assert!(ran.stderr.contains(expected) && ran.stderr.contains("path = \"model\""), "{}", ran.stderr);
        }
        let chat = workplace.write("chat.json", &json!([{"role": "user", "content": "a"}]).to_string());
        let out = workplace.path("out");
        let logits = ["model", "logits", folder, chat.to_str().unwrap(), "-o", out.to_str().unwrap()];
        for words in [&["chat", folder, "hello"][..], &logits] {
            let ran = workplace.ruminate(words).expect(2);
            let named = format!("the model `{folder}`: ");
            assert!(ran.stderr.contains(expected) && ran.stderr.contains(&named), "{}", ran.stderr);
        }
        assert!(!out.exists());
    }
}

#[test]
fn what_is_known_of_a_damaged_model_is_shown_before_the_error() {
    for (damage, expected) in [
        (&cut_short as &dyn Fn(&Path), "`model.safetensors`: its header describes"),
        (&break_index, "the file `model-2.safetensors`, which the model does not have"),
    ] {
        let workplace = damaged(damage);
        let folder = workplace.path("model");
        for more in [&[][..], &["--json"]] {
            let ran = workplace.ruminate(&[&["model", "info", folder.to_str().unwrap()], more].concat()).expect(2);
            assert!(ran.stdout.contains("Qwen2"), "{}", ran.stdout);
            assert!(ran.stderr.contains(expected) && ran.stderr.contains(folder.to_str().unwrap()), "{}", ran.stderr);
        }
    }
}

/// Weights that are not numbers would give logits that nothing can be compared with.
#[test]
fn logits_are_numbers_or_an_error() {
    let workplace = damaged(|folder| {
        let path = folder.join("model.safetensors");
        let mut bytes = std::fs::read(&path).expect("weights");
        let at = bytes.len() - 64;
        bytes[at..].fill(0xff);
        std::fs::write(&path, bytes).expect("the folder can be written");
    });
    let chat = workplace.write("chat.json", &json!([{"role": "user", "content": "a"}]).to_string());
    let (folder, out) = (workplace.path("model"), workplace.path("out"));
    let words = ["model", "logits", folder.to_str().unwrap(), chat.to_str().unwrap(), "-o", out.to_str().unwrap()];
    let ran = workplace.ruminate(&words).expect(2);
    assert!(ran.stderr.contains("are not finite numbers, first at position 0"), "{}", ran.stderr);
    assert!(!out.exists());
}

#[test]
fn a_chat_longer_than_the_model_s_positions_is_refused() {
    let workplace = damaged(|folder| {
        let path = folder.join("config.json");
        let text = std::fs::read_to_string(&path).expect("a configuration");
        let mut config: serde_json::Value = serde_json::from_str(&text).expect("JSON");
        config["max_position_embeddings"] = json!(8);
        std::fs::write(&path, config.to_string()).expect("the folder can be written");
    });
    let text = "one two three four five six seven eight nine ten";
    let chat = workplace.write("chat.json", &json!([{"role": "user", "content": text}]).to_string());
    let (folder, out) = (workplace.path("model"), workplace.path("out"));
    let words = ["model", "logits", folder.to_str().unwrap(), chat.to_str().unwrap(), "-o", out.to_str().unwrap()];
    let ran = workplace.ruminate(&words).expect(2);
    assert!(ran.stderr.contains("more than the model's 8 (`max_position_embeddings`)"), "{}", ran.stderr);
}
