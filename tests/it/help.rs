//! What `--help` prints: pages for every command, whose text flows and whose files are there.

use crate::support::{Workplace, root};

/// The columns for which the pages are laid out.
const COLUMNS: usize = 100;

/// Every page: the words of the command, and what it prints.
fn pages() -> Vec<(String, String)> {
    let workplace = Workplace::new();
    let (mut pages, mut waiting) = (Vec::new(), vec![Vec::<String>::new()]);
    while let Some(words) = waiting.pop() {
        let arguments: Vec<&str> = words.iter().map(String::as_str).chain(["--help"]).collect();
        let output = workplace.command(&arguments).env("COLUMNS", COLUMNS.to_string()).output();
        let page = String::from_utf8(output.expect("the program starts").stdout).expect("a page is text");
        let commands = page.lines().skip_while(|line| *line != "Commands:").skip(1);
        // Deeper lines go on with the one above.
        let commands = commands.take_while(|line| !line.is_empty()).filter(|line| !line.starts_with("   "));
        for name in commands.filter_map(|line| line.split_whitespace().next()).filter(|name| *name != "help") {
            waiting.push([&words[..], &[name.to_owned()]].concat());
        }
        pages.push((words.join(" "), page));
    }
    assert!(pages.len() > 20, "only {} pages were found", pages.len());
    pages
}

#[test]
fn every_file_of_ours_that_a_page_names_is_there() {
    let mut found = 0;
    for (name, page) in pages() {
        for word in page.split_whitespace() {
            let path = word.trim_matches(['`', '\'', '"', ',', '.', ':', ';', '(', ')']);
            let folder = path.split(['/', '*']).next().unwrap_or_default();
            if path.contains('/') && ["graphs", "examples", "tests", "engine"].contains(&folder) {
                let place = path.split('*').next().unwrap_or_default();
                assert!(root().join(place).exists(), "`{name} --help` names `{path}`, which is not there");
                found += 1;
            }
        }
    }
    assert!(found > 5, "only {found} files are named");
}

/// No option takes a number below zero, and none lets it be taken for an option.
#[test]
fn numbers_below_zero_are_told_as_numbers() {
    let workplace = Workplace::new();
    let mut found = 0;
    for (name, page) in pages() {
        let options = page.lines().filter(|line| line.trim_start().starts_with("--"));
        for option in options.filter(|line| line.contains(" <N>")) {
            let option = option.split_whitespace().next().unwrap_or_default();
            let words: Vec<&str> = name.split(' ').chain([option, "-1"]).collect();
            let ran = workplace.ruminate(&words).expect(2);
            let expected = format!("invalid value '-1' for '{option} <N>'");
            assert!(ran.stderr.contains(&expected), "{words:?}: {}", ran.stderr);
            found += 1;
        }
    }
    assert!(found > 8, "only {found} options take numbers");
}

#[test]
fn text_is_broken_where_the_line_is_full() {
    for (name, page) in pages() {
        let lines: Vec<&str> = page.lines().collect();
        for pair in lines.windows(2) {
            let is_text = |line: &str| !line.is_empty() && !line.starts_with(' ') && !line.starts_with("Usage");
            let ends = pair[0].ends_with(['.', ':']);
            let next = pair[1].split(' ').next().unwrap_or_default();
            let fits = pair[0].chars().count() + 1 + next.chars().count() <= COLUMNS;
            let breaks_early = is_text(pair[0]) && is_text(pair[1]) && !ends && fits;
            assert!(!breaks_early, "`{name} --help` breaks a line early:\n{}\n{}", pair[0], pair[1]);
        }
        for line in lines.iter().filter(|line| line.starts_with("  ruminate ")) {
            assert!(line.chars().count() <= COLUMNS, "`{name} --help`: the example is too long: {line}");
        }
    }
}
