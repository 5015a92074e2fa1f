//! The tutorial in plugins/README.md, from its first command to its last, in a fresh folder: its files are written, its
//! commands run, and what it shows of their output must be there. Numbers may differ, words may not. The plugins that the rest
//! of the page shows are built and run where their compilers are.

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value as Json;

use crate::support::{Ran, Workplace, root};

/// What the text between these headings tells its reader to do.
const FROM: &str = "## A filter in ten minutes";
const TO: &str = "## Options and their schema";

/// One thing that the reader does.
#[derive(Debug)]
enum Step {
    /// Runs a command, and sees some of these lines.
    Run { command: String, shown: Vec<String> },
    /// Writes a file.
    Write { path: String, text: String },
    /// Puts tables into a TOML file: in the place of those with the same header, or at the end.
    Tables { path: String, text: String },
    /// Changes lines of a file, as a patch tells.
    Change { path: String, patch: String },
}

/// The fenced blocks between the two headings; the words after a fence are a language and a path.
fn steps(text: &str) -> Vec<Step> {
    let (_, rest) = text.split_once(FROM).expect("the tutorial begins");
    let (part, _) = rest.split_once(TO).expect("the tutorial ends");
    let mut steps = Vec::new();
    let mut lines = part.lines();
    while let Some(line) = lines.next() {
        let Some(fence) = line.strip_prefix("```") else { continue };
        let block: Vec<&str> = lines.by_ref().take_while(|line| *line != "```").collect();
        let (language, path) = fence.split_once(' ').unwrap_or((fence, ""));
        let (path, text) = (path.to_owned(), block.iter().map(|line| format!("{line}\n")).collect::<String>());
        match (language, path.is_empty()) {
            ("console", _) => steps.extend(commands(&block)),
            ("diff", false) => steps.push(Step::Change { path, patch: text }),
            ("toml", false) => steps.push(Step::Tables { path, text }),
            (_, false) => steps.push(Step::Write { path, text }),
            // What is shown and not done.
            (_, true) => {}
        }
    }
    steps
}

/// The commands of a console: lines that begin with `$ `, each with what is shown below it.
fn commands(block: &[&str]) -> Vec<Step> {
    let mut steps: Vec<Step> = Vec::new();
    for line in block {
        if let Some(command) = line.strip_prefix("$ ") {
            steps.push(Step::Run { command: command.to_owned(), shown: Vec::new() });
        } else if let Some(Step::Run { shown, .. }) = steps.last_mut() {
            shown.push((*line).to_owned());
        }
    }
    steps
}

/// A line without its numbers, its widths and its rules: those differ from machine to machine.
fn plain(line: &str) -> String {
    let mut plain = String::new();
    let mut last = ' ';
    for letter in line.trim().chars() {
        let letter = match letter {
            '0'..='9' => '#',
            '.' | ',' if last == '#' => continue,
            '\u{2500}' => continue,
            letter if letter.is_whitespace() => ' ',
            letter => letter,
        };
        if !(letter == last && matches!(letter, ' ' | '#')) {
            plain.push(letter);
        }
        last = letter;
    }
    plain
}

/// The lines of `shown` that are not in `printed`, in order.
fn missing<'a>(shown: &'a [String], printed: &str) -> Option<&'a str> {
    let mut printed = printed.lines().map(plain);
    shown.iter().find(|line| !plain(line).is_empty() && !printed.any(|other| other == plain(line))).map(String::as_str)
}

/// The reader's folder: the repository as far as the tutorial needs it.
struct Folder(tempfile::TempDir);

impl Folder {
    fn new() -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        std::fs::create_dir(folder.path().join("graphs")).expect("the folder can be written");
        let quickstart = "graphs/quickstart.toml";
        std::fs::copy(root().join(quickstart), folder.path().join(quickstart)).expect("the graph can be copied");
        for name in ["examples", "plugins"] {
            std::os::unix::fs::symlink(root().join(name), folder.path().join(name)).expect("a link can be made");
        }
        Self(folder)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn read(&self, name: &str) -> String {
        std::fs::read_to_string(self.path(name)).unwrap_or_else(|error| panic!("`{name}`: {error}"))
    }

    fn write(&self, name: &str, text: &str) {
        let path = self.path(name);
        std::fs::create_dir_all(path.parent().expect("a file is in a folder")).expect("the folder can be made");
        std::fs::write(path, text).unwrap_or_else(|error| panic!("`{name}`: {error}"));
    }

    fn take(&self, step: &Step) {
        match step {
            Step::Run { command, shown } => self.run(command, shown),
            Step::Write { path, text } => self.write(path, text),
            Step::Tables { path, text } => self.write(path, &with_tables(&self.read(path), text)),
            Step::Change { path, patch } => self.write(path, &patched(&self.read(path), patch)),
        }
    }

    fn run(&self, command: &str, shown: &[String]) {
        let program = Path::new(env!("CARGO_BIN_EXE_ruminate")).parent().expect("a program is in a folder");
        let path = std::env::var("PATH").unwrap_or_default();
        let output = Command::new("sh")
            .args(["-c", &format!("{command} 2>&1")])
            .current_dir(self.0.path())
            .env("PATH", format!("{}:{path}", program.display()))
            .env("NO_COLOR", "1")
            .env("CARGO_TARGET_DIR", root().join("target/guests"))
            .env("RUMINATE_CACHE", self.path("cache"))
            .env_remove("RUMINATE_STORE")
            .env_remove("RUST_BACKTRACE")
            .output()
            .expect("there is a shell");
        let printed = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success(), "`{command}` fails with {}:\n{printed}", output.status);
        if let Some(line) = missing(shown, &printed) {
            panic!("`{command}` does not print\n  {line}\nbut\n{printed}");
        }
    }
}

/// `text` with the tables of `tables` in the place of its own, or at its end.
fn with_tables(text: &str, tables: &str) -> String {
    let split = |text: &str| -> Vec<String> {
        let mut parts = vec![String::new()];
        for line in text.lines() {
            if line.starts_with('[') {
                parts.push(String::new());
            }
            let part = parts.last_mut().expect("there is a part");
            part.push_str(line);
            part.push('\n');
        }
        parts
    };
    let header = |part: &str| part.lines().next().unwrap_or_default().to_owned();
    let mut parts = split(text);
    for table in split(tables).into_iter().skip(1) {
        match parts.iter_mut().find(|part| header(part) == header(&table)) {
            Some(part) => *part = format!("{}\n\n", table.trim_end()),
            None => parts.push(format!("\n{table}")),
        }
    }
    parts.concat()
}

/// `text` after a patch of lines that begin with a space, `-` or `+`.
fn patched(text: &str, patch: &str) -> String {
    let side = |without: char| -> String {
        let lines = patch.lines().filter(|line| !line.starts_with(without));
        lines.map(|line| format!("{}\n", line.get(1..).unwrap_or_default())).collect()
    };
    let (old, new) = (side('+'), side('-'));
    assert_eq!(text.matches(&old).count(), 1, "the lines to change are there once:\n{old}in\n{text}");
    text.replacen(&old, &new, 1)
}

/// Whether plugins in Rust can be built here: with rustup's target, or with Debian's compiler.
fn can_build_rust() -> bool {
    if std::env::var_os("GUEST_RUSTC").is_some() || Path::new("/usr/lib/rustlib/src/rust/library/std").is_dir() {
        return true;
    }
    let target = ["--print", "target-libdir", "--target", "wasm32-unknown-unknown"];
    let folder = Command::new("rustc").args(target).output().map(|output| output.stdout).unwrap_or_default();
    Path::new(String::from_utf8_lossy(&folder).trim()).is_dir()
}

#[test]
fn the_tutorial_works_from_its_first_command_to_its_last() {
    let text = std::fs::read_to_string(root().join("plugins/README.md")).expect("the tutorial can be read");
    let steps = steps(&text);
    let commands = steps.iter().filter(|step| matches!(step, Step::Run { .. })).count();
    assert!(commands >= 10, "only {commands} commands were found");
    if !can_build_rust() {
        eprintln!("NOT TESTED: the tutorial's commands, since plugins in Rust cannot be built here");
        return;
    }
    let folder = Folder::new();
    steps.iter().for_each(|step| folder.take(step));
}

/// A whole plugin that the page shows below a heading.
struct Shown {
    heading: &'static str,
    language: &'static str,
    kind: &'static str,
    /// The file whose place it takes in a new folder.
    file: &'static str,
    config: &'static str,
    /// What it says about [`TRACES`].
    answers: &'static str,
}

const TRACES: &str = "\
{\"id\": \"a\", \"reasoning\": \"<think>3+5=8 8>7</think><answer>yes</answer>\"}
{\"id\": \"b\", \"reasoning\": \"yes\"}
";
const TOO_FEW: &str = r#"[{"id": "a", "keep": true}, {"id": "b", "drop": "fewer than 1 words of thought"}]"#;
const SHOWN: [Shown; 4] = [
    Shown {
        heading: "## A mapper",
        language: "rust",
        kind: "mapper",
        file: "src/lib.rs",
        config: "{}",
        answers: r#"[{"id": "a", "rows": [{"thought": "3+5=8 8>7", "steps": 2}]}, {"id": "b", "drop": "mapper gave no row"}]"#,
    },
    Shown {
        heading: "### Python",
        language: "python",
        kind: "filter",
        file: "plugin.py",
        config: "{}",
        answers: TOO_FEW,
    },
    Shown {
        heading: "### JavaScript",
        language: "js",
        kind: "filter",
        file: "plugin.js",
        config: "{}",
        answers: TOO_FEW,
    },
    Shown {
        heading: "### C",
        language: "c",
        kind: "filter",
        file: "plugin.c",
        config: r#"{"max": 10}"#,
        answers: r#"[{"id": "a", "drop": "too long"}, {"id": "b", "keep": true}]"#,
    },
];

#[test]
fn the_plugins_of_the_page_build_and_work() {
    let page = std::fs::read_to_string(root().join("plugins/README.md")).expect("the page can be read");
    for Shown { heading, language, kind, file, config, answers } in SHOWN {
        let (_, rest) = page.split_once(&format!("\n{heading}\n")).expect("the heading is there");
        let (_, rest) = rest.split_once(&format!("\n```{language}\n")).expect("code follows");
        let (code, _) = rest.split_once("\n```\n").expect("the code ends");
        let workplace = Workplace::new();
        workplace.write("traces.jsonl", TRACES);
        let run = |arguments: &[&str]| {
            let mut command = workplace.command(arguments);
            command.current_dir(workplace.folder.path()).env("CARGO_TARGET_DIR", root().join("target/guests"));
            Ran::of(command.output().expect("the program starts"))
        };
        run(&["plugin", "new", "shown", "--lang", language, "--kind", kind]).expect(0);
        workplace.write(&format!("shown/{file}"), &format!("{code}\n"));
        let built = run(&["plugin", "build", "shown"]);
        if built.code == Some(1) && built.stderr.contains("cannot be built here") {
            eprintln!("NOT TESTED: the plugin below `{heading}`: {}", built.stderr.trim());
            continue;
        }
        built.expect(0);
        let said = run(&["plugin", "run", "shown/shown.wasm", "--input", "traces.jsonl", "--config", config]).expect(0);
        let answers: Vec<Json> = serde_json::from_str(answers).expect("answers are JSON");
        assert_eq!(said.json_lines(), answers, "below `{heading}`");
    }
}

#[test]
fn what_the_tutorial_shows_is_compared_without_numbers() {
    let shown = ["problems  ran  1,200", "", "in 0.13 s"].map(str::to_owned);
    assert_eq!(missing(&shown, "a\nproblems   ran  100\nb\nin 12 s\n"), None);
    assert_eq!(missing(&shown, "in 0.1 s\nproblems ran 3\n"), Some("in 0.13 s"));
    assert_eq!(patched("a\nb\nc\n", " a\n-b\n+d\n"), "a\nd\nc\n");
    let graph = with_tables("x = 1\n\n[a]\nb = 1\n\n[c]\n", "[a]\nb = 2\n\n[d]\n");
    assert_eq!(graph, "x = 1\n\n[a]\nb = 2\n\n[c]\n\n[d]\n");
}
