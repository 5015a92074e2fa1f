//! `ruminate grade`: the verdicts of pairs, and why. Knows how pairs are written, no rules. Needs no graph and no store.

use std::fs::File;
use std::io::{self, BufRead, BufReader, BufWriter, Read, Write};

use ruminate_flow::diagnostic::nearest;
use ruminate_flow::table::LINE_BYTES;
use ruminate_grade::{Grader, Mode, Verdict};
use serde::Serialize;
use serde_json::{Map, Value as Json};

use crate::arguments::grade::{GradeArguments, MODES};
use crate::failure::Failure;
use crate::terminal::{self, BAD, GOOD, QUIET, paint};

/// Grades one pair or a file of them.
///
/// # Errors
/// A file that cannot be read, lines that are no pairs; standard output's.
pub(crate) fn grade(arguments: &GradeArguments) -> Result<(), Failure> {
    let Some(truth) = &arguments.truth else {
        return file(&arguments.subject, arguments.mode, arguments.grader);
    };
    let pair = Pair { id: None, prediction: arguments.subject.clone(), truth: truth.clone(), mode: arguments.mode };
    if arguments.json {
        return Ok(pair.write(arguments.grader, &mut terminal::stdout())?);
    }
    explain(&pair, arguments.grader)
}

/// What stands in one line of a file.
#[derive(Debug, PartialEq)]
struct Pair {
    /// As it is written: numbers of any length stay what they are.
    id: Option<String>,
    prediction: String,
    truth: String,
    mode: Mode,
}

/// What comes out for it.
#[derive(Serialize)]
struct Line<'pair> {
    verdict: bool,
    rule: &'static str,
    prediction_form: String,
    truth_form: String,
    /// `null` where a response has no answer.
    prediction_extracted: Option<&'pair str>,
    truth_extracted: Option<&'pair str>,
    grader: String,
}

impl Pair {
    fn line(&self, grader: Grader) -> Line<'_> {
        let Verdict { correct, rule, prediction_form, truth_form, .. } =
            grader.grade(&self.prediction, &self.truth, self.mode);
        Line {
            verdict: correct,
            rule: rule.as_str(),
            prediction_form,
            truth_form,
            prediction_extracted: grader.extract(&self.prediction, self.mode),
            truth_extracted: grader.extract(&self.truth, Mode::Answer),
            grader: grader.to_string(),
        }
    }

    /// Writes the line, `id` first.
    fn write(&self, grader: Grader, out: &mut dyn Write) -> io::Result<()> {
        let line = serde_json::to_string(&self.line(grader))?;
        match &self.id {
            Some(id) => writeln!(out, "{{\"id\":{id},{}", &line[1..]),
            None => writeln!(out, "{line}"),
        }
    }
}

/// Wrong lines that are told one by one.
const MAX_TOLD: usize = 20;

fn file(path: &str, mode: Mode, grader: Grader) -> Result<(), Failure> {
    let (name, mut input): (&str, Box<dyn BufRead>) = if path == "-" {
        ("standard input", Box::new(BufReader::new(io::stdin())))
    } else {
        let opened = File::open(path).and_then(|file| match file.metadata()?.is_dir() {
            true => Err(io::ErrorKind::IsADirectory.into()),
            false => Ok(file),
        });
        let file = opened.map_err(|error| {
            let help = "for one pair, give a prediction and a truth";
            Failure::Input(format!("cannot read `{path}`: {error}; {help}"))
        })?;
        (path, Box::new(BufReader::with_capacity(1 << 16, file)))
    };
    let mut out = BufWriter::new(terminal::stdout());
    let (mut wrong, mut bytes) = (Vec::new(), Vec::new());
    let (mut number, mut more) = (0u64, 0usize);
    loop {
        bytes.clear();
        let read = input.by_ref().take(LINE_BYTES as u64 + 1).read_until(b'\n', &mut bytes);
        if read.map_err(|error| Failure::Failed(format!("cannot read {name}: {error}")))? == 0 {
            break;
        }
        number += 1;
        if bytes.len() > LINE_BYTES {
            let most = LINE_BYTES >> 20;
            wrong.push(format!("{name}:{number}: the line is longer than {most} MiB; expected one pair on each line"));
            break;
        }
        match read_line(&bytes, number == 1, mode) {
            Ok(None) => {}
            Ok(Some(_)) if !wrong.is_empty() => {}
            Ok(Some(pair)) => {
                pair.write(grader, &mut out)?;
                // Who sends a pair and waits for its verdict gets it.
                if path == "-" {
                    out.flush()?;
                }
            }
            Err(message) if wrong.len() < MAX_TOLD => wrong.push(format!("{name}:{number}: {message}")),
            Err(_) => more += 1,
        }
    }
    out.flush()?;
    if more > 0 {
        wrong.push(format!("and {more} more"));
    }
    if wrong.is_empty() { Ok(()) } else { Err(Failure::Input(wrong.join("\n"))) }
}

const EXPECTED: &str = "expected an object with `prediction` and `truth`";

/// The pair of a line; `None` for an empty one.
fn read_line(bytes: &[u8], first: bool, mode: Mode) -> Result<Option<Pair>, String> {
    let text = std::str::from_utf8(bytes).map_err(|error| format!("not UTF-8 at byte {}", error.valid_up_to() + 1))?;
    let text = if first { text.strip_prefix('\u{feff}').unwrap_or(text) } else { text };
    if text.trim().is_empty() {
        return Ok(None);
    }
    let value: Json = serde_json::from_str(text).map_err(|error| {
        // The line of the message is the one within this line.
        let message = error.to_string();
        let message = message.split(" at line ").next().unwrap_or_default();
        format!("not JSON at column {}: {message}; {EXPECTED}", error.column())
    })?;
    let Json::Object(mut fields) = value else {
        return Err(format!("{EXPECTED}, found {}", kind_of(&value)));
    };
    let mode = match fields.get("mode") {
        None | Some(Json::Null) => mode,
        Some(Json::String(name)) => named_mode(name)?,
        Some(other) => return Err(format!("`mode` is {}: expected `answer` or `response`", kind_of(other))),
    };
    let (prediction, truth) = (text_of(&mut fields, "prediction")?, text_of(&mut fields, "truth")?);
    let id = if fields.contains_key("id") { id_of(text) } else { None };
    Ok(Some(Pair { id: id.map(str::to_owned), prediction, truth, mode }))
}

/// The text of the field `id` of an object that has been read before; the last one, if there are several.
fn id_of(text: &str) -> Option<&str> {
    let mut rest = text.trim_start().strip_prefix('{')?;
    let mut id = None;
    loop {
        let (_, key) = value_at(&mut rest)?;
        rest = rest.trim_start().strip_prefix(':')?;
        let (value, _) = value_at(&mut rest)?;
        if key.as_str() == Some("id") {
            id = Some(value);
        }
        match rest.trim_start().strip_prefix(',') {
            Some(next) => rest = next,
            None => return id,
        }
    }
}

/// Takes the JSON value with which `rest` begins off it: as it is written, and what it is.
fn value_at<'text>(rest: &mut &'text str) -> Option<(&'text str, Json)> {
    let text = rest.trim_start();
    let mut values = serde_json::Deserializer::from_str(text).into_iter::<Json>();
    let value = values.next()?.ok()?;
    let (written, left) = text.split_at(values.byte_offset());
    *rest = left;
    Some((written, value))
}

fn named_mode(name: &str) -> Result<Mode, String> {
    let found = MODES.into_iter().find(|(known, _)| *known == name);
    found.map(|(_, mode)| mode).ok_or_else(|| {
        let near = nearest(name, MODES.into_iter().map(|(known, _)| known));
        let help =
            near.map_or_else(|| "expected `answer` or `response`".into(), |near| format!("did you mean `{near}`?"));
        format!("unknown mode `{name}`: {help}")
    })
}

fn text_of(fields: &mut Map<String, Json>, name: &str) -> Result<String, String> {
    match fields.remove(name) {
        Some(Json::String(text)) => Ok(text),
        Some(other) => Err(format!("`{name}` is {}: expected text", kind_of(&other))),
        None => {
            let near = nearest(name, fields.keys().map(String::as_str));
            let found = near.map_or_else(String::new, |near| format!(", found `{near}`"));
            Err(format!("no field `{name}`: {EXPECTED}{found}"))
        }
    }
}

fn kind_of(value: &Json) -> &'static str {
    match value {
        Json::Null => "null",
        Json::Bool(_) => "a boolean",
        Json::Number(_) => "a number",
        Json::String(_) => "text",
        Json::Array(_) => "an array",
        Json::Object(_) => "an object",
    }
}

fn explain(pair: &Pair, grader: Grader) -> Result<(), Failure> {
    let line = pair.line(grader);
    let mut out = terminal::stdout();
    let verdict = if line.verdict { paint(GOOD, "correct") } else { paint(BAD, "not correct") };
    writeln!(out, "{verdict}  {}", sentence(line.rule, grader))?;
    let mut row = |name: &str, text: &str| writeln!(out, "  {:<12}{text}", format!("{name}:"));
    match line.prediction_extracted {
        None => row("prediction", "the response has no answer")?,
        Some(extracted) if extracted != pair.prediction => row("extracted", extracted)?,
        Some(_) => {}
    }
    row("prediction", &line.prediction_form)?;
    row("truth", &line.truth_form)?;
    let note = format!("rule `{}` of {}; what is compared is shown in normal form", line.rule, line.grader);
    writeln!(out, "  {}", paint(QUIET, note))?;
    Ok(())
}

/// A rule in words.
fn sentence(rule: &str, grader: Grader) -> &'static str {
    match (rule, grader) {
        ("exact", _) => "the texts are equal",
        ("cleaned", _) => "equal once the sentence around the answer is taken away",
        ("normal", _) => "the normal forms are equal",
        ("choice", _) => "both name the same option",
        ("numeric", _) => "both are numbers of the same value",
        ("expression", _) => "both are formulas of the same value",
        ("tuple", _) => "equal part by part, in order",
        ("set", _) => "equal part by part, in any order",
        ("interval", _) => "both are the same intervals",
        ("matrix", _) => "the matrices are equal cell by cell",
        ("equation", _) => "both have the same solutions",
        ("mathd", _) => "equal in the normal form of the MATH data set",
        ("sympy", _) => "sympy simplifies the difference to zero",
        ("budget", _) => "no answer within the budget, where mathruler itself works on without end",
        ("none", Grader::Ruminate) => "no rule finds the two equal",
        ("none", Grader::MathRuler) => "mathruler does not find the two equal",
        _ => "the rule below decided",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_read_or_say_what_is_wrong() {
        let read = |text: &str| read_line(text.as_bytes(), true, Mode::Answer);
        let pair = |id: Option<&str>, mode| {
            Ok(Some(Pair { id: id.map(str::to_owned), prediction: "1/2".into(), truth: "0.5".into(), mode }))
        };
        assert_eq!(read(r#"{"prediction": "1/2", "truth": "0.5"}"#), pair(None, Mode::Answer));
        let whole =
            "\u{feff}{\"id\": 7, \"prediction\": \"1/2\", \"truth\": \"0.5\", \"mode\": \"response\", \"more\": []}";
        assert_eq!(read(whole), pair(Some("7"), Mode::Response));
        assert_eq!(read("  \n"), Ok(None));
        let cases = [
            ("[1]", "expected an object with `prediction` and `truth`, found an array"),
            (r#"{"truth": "1"}"#, "no field `prediction`: expected an object with `prediction` and `truth`"),
            (
                r#"{"predictoin": "1", "truth": "1"}"#,
                "no field `prediction`: expected an object with `prediction` and `truth`, found `predictoin`",
            ),
            (r#"{"prediction": "1", "truth": 1}"#, "`truth` is a number: expected text"),
            (r#"{"prediction": null, "truth": "1"}"#, "`prediction` is null: expected text"),
            (r#"{"prediction": "1", "truth": "1", "mode": "answr"}"#, "unknown mode `answr`: did you mean `answer`?"),
            (r#"{"prediction": "1", "truth": "1", "mode": 1}"#, "`mode` is a number: expected `answer` or `response`"),
        ];
        for (text, message) in cases {
            assert_eq!(read(text), Err(message.to_owned()), "{text}");
        }
        assert!(read("{\"prediction\": ").is_err_and(|message| message.starts_with("not JSON at column 15: EOF")));
        assert_eq!(read_line(b"{\"a\xff", true, Mode::Answer), Err("not UTF-8 at byte 4".to_owned()));
    }
}
