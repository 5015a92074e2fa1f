//! `chat` answers on standard output and says everything else elsewhere.

use std::io::Write;
use std::process::Stdio;

use serde_json::Value as Json;

use crate::support::{Ran, Workplace, root};

const MODEL: &str = "examples/models/tiny-vl";
const IMAGE: &str = "tests/reference/images/png/shapes_112x112.png";

/// Runs `chat` with text on standard input.
fn chat_with(stdin: &str, arguments: &[&str]) -> Ran {
    let workplace = Workplace::new();
    let mut command = workplace.command(&[&["chat"], arguments].concat());
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the program starts");
    child.stdin.take().expect("a pipe").write_all(stdin.as_bytes()).expect("the program reads its input");
    Ran::of(child.wait_with_output().expect("the program ends"))
}

fn chat(arguments: &[&str]) -> Ran {
    chat_with("", arguments)
}

#[test]
fn an_answer_is_streamed_and_the_same_as_in_json() {
    let settings = ["--max-tokens", "24", "--temperature", "0.8", "--top-p", "0.9", "--top-k", "50", "--seed", "5"];
    for images in [vec![], vec!["--image", IMAGE], vec!["--image", IMAGE, "--image", IMAGE]] {
        let arguments = [&[MODEL, "What is 3 + 4?"], &images[..], &settings].concat();
        let plain = chat(&arguments).expect(0);
        let json = chat(&[&arguments[..], &["--json"]].concat()).expect(0);
        let answer = json.json();
        assert_eq!(plain.stdout, format!("{}\n", answer["completion"].as_str().expect("a text")));
        let length = |name: &str| answer[name].as_array().expect("a list").len();
        assert_eq!(length("tokens"), length("logprobs"));
        assert!((1..=24).contains(&length("tokens")));
        let ending = if length("tokens") < 24 { "stop" } else { answer["finish_reason"].as_str().expect("a text") };
        assert_eq!(answer["finish_reason"], ending);
        assert!(answer["logprobs"].as_array().unwrap().iter().all(|value| value.as_f64().unwrap() <= 0.0));
        assert!(plain.stderr.contains("loaded `examples/models/tiny-vl` in "), "{}", plain.stderr);
        assert!(plain.stderr.contains(&format!("{} tokens of prompt", length("prompt_tokens"))), "{}", plain.stderr);
    }
}

#[test]
fn turns_come_from_standard_input_until_an_empty_line() {
    let arguments = [MODEL, "--json", "--system", "Be brief.", "--max-tokens", "4", "--image", IMAGE];
    let answers: Vec<Json> = chat_with("first\nsecond\n\nnever\n", &arguments).expect(0).json_lines();
    assert_eq!(answers.len(), 2);
    let tokens = |answer: &Json, name: &str| -> Vec<u64> {
        answer[name].as_array().expect("a list").iter().map(|token| token.as_u64().expect("an id")).collect()
    };
    // The second prompt holds the first turn, so that its image is still to be seen.
    let (first, second) = (tokens(&answers[0], "prompt_tokens"), tokens(&answers[1], "prompt_tokens"));
    assert_eq!(second[..first.len()], first[..]);
    assert!(second.len() > first.len() + 4);
    assert!(chat_with("", &[MODEL]).expect(0).stdout.is_empty());
}

#[test]
fn the_same_seed_gives_the_same_answer() {
    let answer = |seed: &str| {
        let arguments = [MODEL, "Describe the image.", "--image", IMAGE, "--temperature", "1.5", "--seed", seed];
        chat(&[&arguments[..], &["--max-tokens", "16"]].concat()).expect(0).stdout
    };
    assert_eq!(answer("1"), answer("1"));
    assert_ne!(answer("1"), answer("2"));
}

#[test]
fn what_cannot_be_used_is_named() {
    for (arguments, expected) in [
        (vec![MODEL, "x", "--temperature", "nan"], "option `temperature`: is NaN"),
        (vec![MODEL, "x", "--temperature", "-1"], "option `temperature`: is -1"),
        (vec![MODEL, "x", "--top-p", "0"], "option `top_p`: is 0, expected above 0"),
        (vec![MODEL, "x", "--top-k", "0"], "option `top_k`: is 0"),
        (vec![MODEL, "x", "--max-tokens", "0"], "option `max_new_tokens`: is 0"),
        (vec![MODEL, "x", "--repetition-penalty", "0"], "option `repetition_penalty`: is 0"),
        (vec![MODEL, "x", "--device", "tpu"], "`tpu` is unknown"),
        (vec![MODEL, "x", "--image", "no-such.png"], "cannot read `no-such.png`"),
        (vec![MODEL, "x", "--image", "Cargo.toml"], "`Cargo.toml`: image: "),
        (vec!["examples/models/tiny-reasoner", "x", "--image", IMAGE], "the model has no vision tower"),
        (vec!["no-such-folder", "x"], "no-such-folder"),
        (vec!["examples", "x"], "config.json"),
    ] {
        let ran = chat(&arguments).expect(2);
        assert!(ran.stderr.contains(expected), "{arguments:?}: {}", ran.stderr);
        assert!(ran.stdout.is_empty(), "{arguments:?}: {}", ran.stdout);
    }
    assert!(root().join(IMAGE).is_file());
}
