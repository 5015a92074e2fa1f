//! `ruminate plugin test`: the cases of a plugin, and what differs, record by record.

use std::io::Write;

use ruminate_wasm::author::{self, Case, Difference, Line, Outcome, Project};

use crate::arguments::plugin::TestArguments;
use crate::failure::Failure;
use crate::format::{plural, printable, shell_line};
use crate::terminal::{self, BAD, CAUTION, GOOD, QUIET, STRONG, paint};

/// Differences that are shown of one case.
const SHOWN: usize = 20;

/// Runs all cases; those after one that fails too.
///
/// # Errors
/// There is nothing to test; cases that cannot be read; cases that do not pass.
pub(super) fn test(arguments: &TestArguments) -> Result<(), Failure> {
    let project = Project::open(&arguments.folder)?;
    let component = arguments.plugin.clone().unwrap_or_else(|| project.existing_component());
    let build = shell_line(
        ["ruminate", "plugin", "build"].map(str::to_owned).into_iter().chain([arguments.folder.display().to_string()]),
    );
    if !component.is_file() {
        return Err(Failure::Input(format!("`{}` is not there: `{build}` makes it", component.display())));
    }
    if let Some(newer) = project.newer_source(&component).filter(|_| arguments.plugin.is_none()) {
        let text = format!("`{}` is newer than `{}`: `{build}`", newer.display(), component.display());
        terminal::say(&format!("{} {text}", paint(CAUTION, "note:")));
    }
    let cases = author::find_cases(&arguments.folder)?;
    let (mut failed, mut wrong) = (0, Vec::new());
    for case in &cases {
        let note = |text: &str| terminal::say(&format!("{}: {}", case.name, printable(text)));
        match author::check(case, &component, arguments.update, &note) {
            Ok(outcome) => failed += u64::from(!report(case, &outcome, arguments.update)?),
            Err(error) if error.is_input() => {
                writeln!(terminal::stdout(), "{} {}", paint(BAD, "error"), paint(STRONG, &case.name))?;
                wrong.push(error.to_string());
            }
            Err(error) => return Err(error.into()),
        }
    }
    if !wrong.is_empty() {
        return Err(Failure::Input(wrong.join("\n")));
    }
    let (all, shown) = (plural(cases.len() as u64, "case"), component.display());
    match failed {
        0 => terminal::say(&format!("{all} of `{shown}`: {}", paint(GOOD, "all pass"))),
        failed => {
            let what = if failed == 1 { "does not pass" } else { "do not pass" };
            return Err(Failure::Failed(format!(
                "{failed} of {all} of `{shown}` {what}; if the new answers are right, `--update` writes them"
            )));
        }
    }
    Ok(())
}

/// Prints how a case went, and tells whether it passes.
fn report(case: &Case, outcome: &Outcome, update: bool) -> Result<bool, Failure> {
    let mut out = terminal::stdout();
    let name = paint(STRONG, &case.name);
    let compared = paint(QUIET, plural(outcome.compared as u64, "answer"));
    if outcome.differences.is_empty() {
        writeln!(out, "{}    {name} {compared}", paint(GOOD, "ok"))?;
        return Ok(true);
    }
    if update {
        outcome.accept()?;
        writeln!(out, "{}   {name}: `{}` written", paint(CAUTION, "new"), outcome.file.display())?;
        return Ok(true);
    }
    writeln!(out, "{}  {name} {compared}", paint(BAD, "fail"))?;
    let total = outcome.differences.len();
    for difference in outcome.differences.iter().take(SHOWN) {
        write!(out, "{}", text_of(difference))?;
    }
    if total > SHOWN {
        writeln!(out, "  {} more differences", total - SHOWN)?;
    }
    Ok(false)
}

/// A difference: what is expected with `-`, what was given with `+`.
fn text_of(difference: &Difference) -> String {
    let mut text = format!("  {} (- expected, + given)\n", printable(&difference.about));
    for line in &difference.lines {
        let line = match line {
            Line::Same(line) => format!("      {}", printable(line)),
            Line::Expected(line) => paint(BAD, format!("    - {}", printable(line))),
            Line::Given(line) => paint(GOOD, format!("    + {}", printable(line))),
        };
        text.push_str(&line);
        text.push('\n');
    }
    text
}
