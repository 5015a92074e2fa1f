//! `ruminate grade`: what can be typed about verdicts.

use clap::Args;
use clap::builder::{PossibleValuesParser, TypedValueParser};
use ruminate_grade::{Grader, Mode};

/// `grade`.
#[derive(Args, Debug)]
#[command(
    override_usage = "ruminate grade [OPTIONS] <FILE>\n       ruminate grade [OPTIONS] <PREDICTION> <TRUTH>",
    after_help = "\
FILE holds JSON lines with `prediction`, `truth` and, if wanted, `mode` (`answer` or `response`) and `id`; `-` is standard \
input. One line comes out for each, in order: `id`, `verdict`, `rule`, `prediction_form`, `truth_form`, \
`prediction_extracted`, `truth_extracted`, `grader`. At the first line that cannot be graded the verdicts end; what is \
wrong in the rest is told as well, and the exit code is 2. Verdicts, true or false, are exit code 0.

Examples:
  ruminate grade '\\frac{1}{2}' 0.5
  ruminate grade --mode response \"$(cat response.txt)\" 42
  ruminate grade pairs.jsonl --grader mathruler > verdicts.jsonl"
)]
pub(crate) struct GradeArguments {
    /// A file of JSON lines (`-`: standard input); or, where TRUTH is given too, a prediction
    #[arg(value_name = "FILE|PREDICTION", allow_hyphen_values = true)]
    pub(crate) subject: String,
    /// The true answer
    #[arg(value_name = "TRUTH", allow_hyphen_values = true)]
    pub(crate) truth: Option<String>,
    /// What a prediction is: a bare answer, or a whole response that contains one; for lines without a `mode`
    #[arg(long, value_name = "MODE", default_value = "answer", value_parser = mode())]
    pub(crate) mode: Mode,
    /// Whose rules decide: the project's own, or those of mathruler 0.1.0, slips included
    #[arg(long, value_name = "NAME", default_value = "ruminate", value_parser = grader())]
    pub(crate) grader: Grader,
    /// Print the verdict of one pair as JSON too
    #[arg(long)]
    pub(crate) json: bool,
}

/// The modes by name.
pub(crate) const MODES: [(&str, Mode); 2] = [("answer", Mode::Answer), ("response", Mode::Response)];

fn mode() -> impl TypedValueParser<Value = Mode> {
    PossibleValuesParser::new(MODES.map(|(name, _)| name))
        .map(|name| MODES.into_iter().find(|(known, _)| *known == name).map_or(Mode::Answer, |(_, mode)| mode))
}

fn grader() -> impl TypedValueParser<Value = Grader> {
    PossibleValuesParser::new(Grader::ALL.map(Grader::name)).try_map(|name| Grader::from_name(&name))
}
