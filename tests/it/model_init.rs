//! `model init`: a folder with random weights that everything else takes, and that is there in full or not at all.

use std::collections::BTreeSet;
use std::process::{Command, Stdio};
use std::time::Duration;

use safetensors::SafeTensors;
use serde_json::{Value as Json, json};

use crate::support::{Ran, Workplace, files, root};

const CONFIG: &str = "examples/models/configs/tiny-vl";

#[test]
fn a_drawn_folder_in_shards_computes_and_is_the_same_each_time() {
    let workplace = Workplace::new();
    let config = root().join(CONFIG);
    let config = config.to_str().unwrap();
    let chat = workplace.write("chat.json", &json!([{"role": "user", "content": "What is the area?"}]).to_string());
    let mut given = Vec::new();
    for (out, more) in
        [("whole", vec![]), ("shards", vec!["--max-shard-size", "700KB"]), ("other", vec!["--seed", "2"])]
    {
        let out = workplace.path(out);
        let mut words = vec!["model", "init", config, "-o", out.to_str().unwrap(), "--dtype", "bf16"];
        words.extend(more);
        let said = workplace.ruminate(&words).expect(0).stdout;
        assert!(said.contains(" parameters, "), "{said}");
        let logits = workplace.path("logits.safetensors");
        let paths = [out.to_str().unwrap(), chat.to_str().unwrap(), logits.to_str().unwrap()];
        workplace.ruminate(&["model", "logits", paths[0], paths[1], "-o", paths[2]]).expect(0);
        given.push(std::fs::read(&logits).unwrap());
    }
    assert!(given[0] == given[1] && given[0] != given[2]);
    let shards = files(&workplace.path("shards"), ".safetensors");
    let index: Json =
        serde_json::from_slice(&std::fs::read(workplace.path("shards/model.safetensors.index.json")).unwrap())
            .expect("the index is JSON");
    let named: BTreeSet<&str> = index["weight_map"].as_object().unwrap().values().filter_map(Json::as_str).collect();
    assert!(shards.len() > 3 && named.len() == shards.len());
    for shard in shards {
        let bytes = std::fs::read(&shard).unwrap();
        let tensors = SafeTensors::deserialize(&bytes).unwrap();
        assert!(bytes.len() < 800_000 || tensors.len() == 1);
    }
    let config: Json = serde_json::from_slice(&std::fs::read(workplace.path("whole/config.json")).unwrap()).unwrap();
    assert_eq!(config["torch_dtype"], "bfloat16");
    assert!(workplace.path("whole/tokenizer.json").exists());
}

#[test]
fn what_cannot_be_written_is_refused_and_leaves_nothing() {
    let workplace = Workplace::new();
    let config = root().join(CONFIG).join("config.json");
    let taken = workplace.path("taken");
    std::fs::create_dir(&taken).expect("the folder can be written");
    workplace.write("taken/notes.txt", "mine");
    let broken = workplace.write("broken.json", r#"{"model_type": "qwen2", "num_attention_heads": 0}"#);
    let out = workplace.path("out");
    for (config, out, expected) in [
        (&config, taken.as_path(), "holds something already: name a folder that does not exist yet"),
        (&broken, out.as_path(), "`num_attention_heads` is 0, expected a whole number from 1 to 4096"),
        (&workplace.path("nothing.json"), out.as_path(), "cannot read `"),
    ] {
        let ran =
            workplace.ruminate(&["model", "init", config.to_str().unwrap(), "-o", out.to_str().unwrap()]).expect(2);
        assert!(ran.stderr.contains(expected), "{}", ran.stderr);
    }
    assert!(!out.exists() && files(&taken, "").len() == 1);
}

/// Interrupted it leaves nothing; killed, what nobody takes for the model, and what goes with the next run beside it.
#[test]
fn what_is_stopped_half_way_is_no_model() {
    let large = root().join("examples/models/configs/qwen2.5-vl-3b");
    let small = root().join(CONFIG);
    for (signal, left) in [("INT", 0), ("KILL", 1)] {
        let workplace = Workplace::new();
        let out = workplace.path("models/new");
        let mut command = workplace.command(&["model", "init", large.to_str().unwrap(), "-o", out.to_str().unwrap()]);
        let mut running = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("the program starts");
        let there = || -> Vec<_> {
            let entries = std::fs::read_dir(workplace.path("models")).into_iter().flatten().flatten();
            entries.map(|entry| entry.path()).collect()
        };
        while !there().iter().any(|folder| folder.join("new/model-00001-of-00002.safetensors").exists()) {
            assert!(running.try_wait().expect("the program is there").is_none(), "it ended before it was stopped");
            std::thread::sleep(Duration::from_millis(5));
        }
        // Beside it another run may write, which leaves alone what is being written.
        let beside = workplace.path("models/beside");
        let paths = [small.to_str().unwrap(), beside.to_str().unwrap()];
        let ran = workplace.ruminate(&["model", "init", paths[0], "-o", paths[1]]).expect(0);
        assert!(!ran.stderr.contains("removed"), "{}", ran.stderr);
        let id = running.id().to_string();
        assert!(Command::new("kill").args([&format!("-{signal}"), &id]).status().expect("kill runs").success());
        let status = running.wait().expect("the program ends");
        assert_eq!(status.code(), (signal == "INT").then_some(130));
        let partial = || -> Vec<String> {
            let names = there().into_iter().filter_map(|path| Some(path.file_name()?.to_string_lossy().into_owned()));
            names.filter(|name| name.starts_with(".new.ruminate-partial-")).collect()
        };
        assert_eq!((there().len(), partial().len()), (1 + left, left), "{:?}", there());
        std::fs::remove_dir_all(&beside).expect("the folder can be removed");
        let ran = workplace.ruminate(&["model", "init", paths[0], "-o", paths[1]]).expect(0);
        assert_eq!(ran.stderr.matches("/models/.new.ruminate-partial-").count(), left, "{}", ran.stderr);
        assert_eq!(there(), [beside], "what was left is gone");
    }
}

#[test]
fn a_file_of_weights_has_some_bytes() {
    let workplace = Workplace::new();
    let (config, out) = (root().join(CONFIG), workplace.path("out"));
    let words = ["model", "init", config.to_str().unwrap(), "-o", out.to_str().unwrap(), "--max-shard-size"];
    for size in ["0", "0GB", "0.4"] {
        let ran = workplace.ruminate(&[&words[..], &[size]].concat()).expect(2);
        assert!(ran.stderr.contains("--max-shard-size"), "{}", ran.stderr);
    }
    assert!(!out.exists());
}

/// What cannot get its name in the end is refused before anything is drawn, however large the model.
#[test]
fn a_folder_that_cannot_be_made_is_refused_at_once() {
    let large = root().join("examples/models/configs/qwen2.5-vl-3b");
    let workplace = Workplace::new();
    workplace.write("file", "");
    std::fs::create_dir(workplace.path("here")).expect("the folder can be written");
    for (out, here, expected) in [
        (".", "here", "the program runs in it"),
        ("..", ".", "name a folder"),
        ("/", ".", "name a folder"),
        ("file/below", ".", "file"),
    ] {
        let mut command = workplace.command(&["model", "init", large.to_str().unwrap(), "-o", out]);
        let begin = std::time::Instant::now();
        let ran = Ran::of(command.current_dir(workplace.path(here)).output().expect("the program starts"));
        assert!(matches!(ran.code, Some(1 | 2)), "{out}: {}", ran.stderr);
        assert!(ran.stderr.contains(expected), "{out}: {}", ran.stderr);
        assert!(begin.elapsed() < Duration::from_secs(2), "{out}");
    }
    assert_eq!(files(&workplace.path("."), "").len(), 1);
}

#[test]
#[cfg(unix)]
fn a_link_to_an_empty_folder_leads_to_the_model() {
    let workplace = Workplace::new();
    std::fs::create_dir(workplace.path("far")).expect("the folder can be written");
    std::os::unix::fs::symlink("far", workplace.path("link")).expect("the folder can be written");
    let (config, out) = (root().join(CONFIG), workplace.path("link"));
    workplace.ruminate(&["model", "init", config.to_str().unwrap(), "-o", out.to_str().unwrap()]).expect(0);
    assert!(out.is_symlink() && workplace.path("far/model.safetensors").is_file());
}
