//! The README's commands: each is checked, and those that are quick are run.

use std::process::Command;

use crate::support::{Ran, Workplace, root};

/// The lines of the README's `console` blocks that begin with `$ `.
fn commands() -> Vec<String> {
    let text = std::fs::read_to_string(root().join("README.md")).expect("the README can be read");
    let mut inside = false;
    let mut found = Vec::new();
    for line in text.lines() {
        if let Some(language) = line.strip_prefix("```") {
            inside = !inside && language == "console";
        } else if let (true, Some(command)) = (inside, line.strip_prefix("$ ")) {
            found.push(command.split('#').next().unwrap_or_default().trim().to_owned());
        }
    }
    found
}

/// Arguments after the program's name, if the command runs the program.
fn arguments(command: &str) -> Option<Vec<String>> {
    let rest = command.strip_prefix("cargo run --release -- ").or_else(|| command.strip_prefix("ruminate "))?;
    Some(rest.split_whitespace().map(str::to_owned).collect())
}

#[test]
fn the_first_two_commands_are_the_promised_ones() {
    assert_eq!(commands()[..2], ["cargo run --release -- run graphs/quickstart.toml", "cargo test --release"]);
}

#[test]
fn every_command_of_the_program_is_understood() {
    let workplace = Workplace::new();
    let mut seen = 0;
    for command in commands() {
        let Some(mut arguments) = arguments(&command) else {
            assert!(
                command.starts_with("cargo ") || command.starts_with("git ") || command.starts_with("cd "),
                "`{command}` is not tested"
            );
            continue;
        };
        seen += 1;
        // What would take minutes is planned instead: the same graph, the same overrides.
        if arguments[0] == "run" {
            arguments[0] = "plan".to_owned();
            arguments.retain(|argument| !["--quiet", "--json"].contains(&argument.as_str()));
            for option in ["--device", "--events", "--profile"] {
                if let Some(place) = arguments.iter().position(|argument| argument == option) {
                    arguments.drain(place..place + 2);
                }
            }
        }
        let plain: Vec<&str> = arguments.iter().map(String::as_str).collect();
        let ran: Ran = workplace.ruminate(&plain);
        // 1: nothing is computed yet in this store, which is right for what asks for results.
        let fine = matches!(ran.code, Some(0))
            || matches!((plain[0], ran.code), ("show" | "results" | "export" | "trace", Some(1)))
            // There is no store yet that could be looked at.
            || matches!((plain[0], ran.code), ("store", Some(2)));
        assert!(fine, "`{command}` exits with {:?}:\n{}{}", ran.code, ran.stdout, ran.stderr);
    }
    assert!(seen >= 6, "only {seen} commands of the program were found");
}

#[test]
fn the_examples_named_in_the_readme_exist() {
    for command in commands() {
        if let Some(rest) = command.strip_prefix("cargo run --release --example ") {
            let name = rest.split_whitespace().next().unwrap();
            assert!(root().join(format!("examples/{name}.rs")).exists(), "{command}");
        }
    }
    let help = Command::new(env!("CARGO_BIN_EXE_ruminate")).arg("--help").output().expect("the program starts");
    assert!(help.status.success());
}
