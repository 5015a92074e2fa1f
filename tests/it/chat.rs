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
fn a_turn_that_cannot_be_read_is_an_error() {
    let workplace = Workplace::new();
    let with = |input: Stdio| {
        let output = workplace.command(&["chat", MODEL, "--max-tokens", "4"]).stdin(input).output();
        Ran::of(output.expect("the program starts"))
    };
    let path = workplace.path("turns");
    std::fs::write(&path, b"hello\nb\xffd\nnever\n").expect("the folder can be written");
    let ran = with(std::fs::File::open(&path).expect("it is there").into()).expect(2);
    assert!(
        ran.stderr.contains("the line is not UTF-8 at byte 2") && ran.stdout.lines().count() == 1,
        "{}",
        ran.stderr
    );
    #[cfg(target_os = "linux")]
    {
        let ran = with(std::fs::File::open("/dev/zero").expect("it is there").into()).expect(2);
        assert!(ran.stderr.contains("one line of at most 16 MiB"), "{}", ran.stderr);
    }
}

/// At a terminal a turn that cannot be used is told, and the conversation goes on: `script` of util-linux gives it one.
#[test]
#[cfg(target_os = "linux")]
fn at_a_terminal_a_turn_can_be_said_again() {
    use std::time::Duration;
    if !std::process::Command::new("script").arg("--version").output().is_ok_and(|ran| ran.status.success()) {
        println!("skipped: there is no `script`");
        return;
    }
    let program = env!("CARGO_BIN_EXE_ruminate");
    let command = format!("stty -echo; {program} chat {MODEL} --max-tokens 4 --json");
    let mut child = std::process::Command::new("script")
        .args(["-qec", &command, "/dev/null"])
        .current_dir(root())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("script starts");
    let mut keys = child.stdin.take().expect("a pipe");
    // What is typed before the terminal is set up would be lost.
    std::thread::sleep(Duration::from_millis(1500));
    let long = "word ".repeat(700);
    let turns = [b"first\n".to_vec(), b"b\xffd\n".to_vec(), format!("{}\n", &long[..3500]).into_bytes()];
    for turn in turns.iter().chain([&b"second\n".to_vec(), &b"\n".to_vec()]) {
        keys.write_all(turn).expect("the terminal takes it");
        std::thread::sleep(Duration::from_millis(300));
    }
    let ran = Ran::of(child.wait_with_output().expect("it ends")).expect(0);
    assert!(ran.stdout.contains("is not UTF-8 at byte 2; say it otherwise"), "{}", ran.stdout);
    let answers = ran.stdout.lines().filter(|line| line.contains("\"completion\"")).count();
    assert!(answers >= 2, "{}", ran.stdout);
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
        (vec![MODEL, "x", "--temperature", "nan"], "option `--temperature`: is NaN"),
        (vec![MODEL, "x", "--temperature", "-1"], "option `--temperature`: is -1"),
        (vec![MODEL, "x", "--top-p", "0"], "option `--top-p`: is 0, expected above 0"),
        (vec![MODEL, "x", "--top-k", "0"], "'0' for '--top-k <K>': expected a whole number of at least 1"),
        (vec![MODEL, "x", "--max-tokens", "0"], "'0' for '--max-tokens <N>': expected a whole number of at least 1"),
        (vec![MODEL, "x", "--max-tokens", "-1"], "'-1' for '--max-tokens <N>': expected a whole number of at least 1"),
        (vec![MODEL, "x", "--max-pixels", "-1"], "'-1' for '--max-pixels <N>': expected a whole number of at least 1"),
        (vec![MODEL, "x", "--seed", "-1"], "'-1' for '--seed <N>'"),
        #[cfg(target_os = "linux")]
        (vec![MODEL, "x", "--image", "/dev/zero"], "cannot read `/dev/zero`: it is longer than 512 MiB"),
        (vec![MODEL, "x", "--repetition-penalty", "0"], "option `--repetition-penalty`: is 0"),
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
