//! Plugins in the program: what a person sees of a record over which one fails, and the compiled code that is kept.

use std::path::PathBuf;

use serde_json::json;

use crate::support::{Ran, Workplace, root};

/// A graph whose node `obey` runs the plugin that does what `command` says, over rows with these commands.
fn graph(workplace: &Workplace, commands: &[&str]) -> String {
    let rows = commands.iter().enumerate().map(|(i, command)| json!({ "id": format!("row-{i}"), "command": command }));
    let rows: String = rows.map(|row| format!("{row}\n")).collect();
    workplace.write("rows.jsonl", &rows);
    let plugin = root().join("tests/plugins/hostile.wasm");
    let text = format!(
        "name = \"plugins\"\n\n[nodes.rows]\nkind = \"read\"\npath = \"rows.jsonl\"\n\n[nodes.obey]\nkind = \"wasm\"\ninput = \"rows\"\n\
         plugin = {plugin:?}\nfuel = 1_000_000\n\n[nodes.out]\nkind = \"write\"\ninput = \"obey\"\npath = {:?}\n",
        workplace.path("out.jsonl")
    );
    workplace.write("graph.toml", &text).to_string_lossy().into_owned()
}

#[test]
fn a_record_that_breaks_a_plugin_is_explained_and_costs_no_other() {
    let run = |commands: &[&str]| {
        let workplace = Workplace::new();
        let graph = graph(&workplace, commands);
        let ran = workplace.ruminate(&["run", &graph]).expect(0);
        (ran, std::fs::read_to_string(workplace.path("out.jsonl")).expect("the output is there"), graph)
    };
    let mut commands: Vec<String> = (0..256).map(|i| format!("good {i}")).collect();
    let good = run(&commands.iter().map(String::as_str).collect::<Vec<_>>()).1;
    commands[100] = "panic".to_owned();
    commands[200] = "loop".to_owned();
    let (ran, output, graph) = run(&commands.iter().map(String::as_str).collect::<Vec<_>>());
    let kept: Vec<&str> =
        good.lines().enumerate().filter(|(i, _)| *i != 100 && *i != 200).map(|(_, line)| line).collect();
    assert_eq!(output.lines().collect::<Vec<_>>(), kept);
    let shown = |text: &str| assert!(ran.stderr.contains(text), "`{text}` in:\n{}", ran.stderr);
    // The place of `[nodes.obey]` in the file, the record, the plugin's own words, its functions, what to do.
    shown(&format!("{graph}:7:"));
    shown("plugin `hostile` on record `row-100`: panicked: the record said so (tests/hostile/src/lib.rs:");
    shown("), in hostile::obey");
    shown("try the plugin on this record alone with `ruminate plugin run`");
    shown("plugin `hostile` on record `row-200`: ran out of fuel: one record needs more than 1000000 (option `fuel`)");
    shown("1  plugin panicked: the record said so");
    shown("1  plugin ran out of fuel");
}

/// Where addresses are rationed there is no pool for the memories of plugins; nothing else is different.
#[cfg(target_os = "linux")]
#[test]
fn a_limit_of_addresses_changes_nothing() {
    let run = |limit: &str| {
        let workplace = Workplace::new();
        let graph = graph(&workplace, &["good", "panic", "good 2", "memory", "two"]);
        let program = workplace.command(&["run", &graph]);
        let mut command = std::process::Command::new("sh");
        command.arg("-c").arg(format!("ulimit -v {limit} && exec \"$@\"")).arg("sh");
        command.arg(program.get_program()).args(program.get_args()).current_dir(root());
        command.envs(program.get_envs().filter_map(|(name, value)| Some((name, value?))));
        let ran = Ran::of(command.output().expect("the shell starts")).expect(0);
        let output = std::fs::read_to_string(workplace.path("out.jsonl")).expect("the output is there");
        (output, ran.stderr.contains("plugin panicked: the record said so"))
    };
    // 48 GB: less than any pool has.
    let (output, explained) = run("50331648");
    assert_eq!((output.lines().count(), explained), (4, true), "{output}");
    assert_eq!(run("unlimited"), (output, explained));
}

/// The files of the cache in `workplace` whose names end so.
fn kept(workplace: &Workplace, extension: &str) -> Vec<PathBuf> {
    let files = std::fs::read_dir(workplace.path("cache/plugins")).into_iter().flatten().flatten();
    files.map(|file| file.path()).filter(|path| path.extension().is_some_and(|found| found == extension)).collect()
}

fn check(workplace: &Workplace, graph: &str) -> Ran {
    let mut command = workplace.command(&["check", graph]);
    Ran::of(command.env("RUMINATE_CACHE", workplace.path("cache")).output().expect("it starts")).expect(0)
}

#[test]
fn compiled_plugins_are_kept_and_damage_is_repaired() {
    let workplace = Workplace::new();
    let graph = graph(&workplace, &["good"]);
    let processes: Vec<_> = (0..2)
        .map(|_| {
            let mut command = workplace.command(&["check", &graph]);
            command.env("RUMINATE_CACHE", workplace.path("cache")).stdout(std::process::Stdio::null());
            command.env("RUMINATE_LOG", "ruminate_wasm=info").stderr(std::process::Stdio::piped());
            command.spawn().expect("it starts")
        })
        .collect();
    let ran: Vec<_> = processes.into_iter().map(|process| process.wait_with_output().expect("it ends")).collect();
    let compiled = |text: &[u8]| String::from_utf8_lossy(text).matches("compiling a plugin").count();
    assert!(ran.iter().all(|ran| ran.status.success()));
    assert_eq!(ran.iter().map(|ran| compiled(&ran.stderr)).sum::<usize>(), 1, "{ran:?}");
    let files = kept(&workplace, "code");
    assert_eq!(files.len(), 1);
    assert_eq!(check(&workplace, &graph).stderr.matches("damaged").count(), 0);
    let mut code = std::fs::read(&files[0]).expect("the code");
    let middle = code.len() / 2;
    code[middle] ^= 1;
    std::fs::write(&files[0], &code).expect("written");
    let ran = check(&workplace, &graph);
    assert!(ran.stderr.contains("is damaged and made anew"), "{}", ran.stderr);
    assert!(!check(&workplace, &graph).stderr.contains("damaged"));
}

#[cfg(unix)]
#[test]
fn a_cache_that_others_can_write_is_not_used() {
    use std::os::unix::fs::PermissionsExt;
    let workplace = Workplace::new();
    let graph = graph(&workplace, &["good"]);
    let folder = workplace.path("cache/plugins");
    std::fs::create_dir_all(&folder).expect("made");
    std::fs::set_permissions(&folder, std::fs::Permissions::from_mode(0o777)).expect("set");
    let ran = check(&workplace, &graph);
    assert!(ran.stderr.contains("can be written by others (mode 0777)"), "{}", ran.stderr);
    assert!(kept(&workplace, "code").is_empty());
}
