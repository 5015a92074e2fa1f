//! The option `grader` of the stages that grade, and what it puts into their keys. Knows no rules.

use ruminate_flow::options::{OptionKind, OptionSpec};
use ruminate_grade::Grader;
use serde::{Deserialize, Deserializer, de};
use serde_json::{Value as Json, json};

/// The option's name.
pub(super) const OPTION: &str = "grader";

/// The grader by name. Its name and version reach the key through [`identity`].
pub(super) const GRADER: OptionSpec = OptionSpec::new(
    OPTION,
    OptionKind::Choice(&["ruminate", "mathruler"]),
    "\"ruminate\"",
    "Whose rules decide what is correct: `ruminate`, or `mathruler` for numbers that compare with published ones: \
     mathruler 0.1.0's verdicts, slips included, on what a response has boxed.",
)
.not_identity();

/// What decides the verdicts, for the key: of the default grader its version alone.
pub(super) fn identity(grader: Grader) -> Json {
    match grader {
        Grader::Ruminate => json!(grader.version()),
        other => json!(other.to_string()),
    }
}

/// For the field `grader` of a stage's options.
pub(super) fn read<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Grader, D::Error> {
    let name = String::deserialize(deserializer)?;
    Grader::from_name(&name).map_err(de::Error::custom)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_option_offers_every_grader() {
        let OptionKind::Choice(names) = GRADER.kind else { panic!("the grader is a choice") };
        assert_eq!(names, Grader::ALL.map(Grader::name));
    }

    #[test]
    fn keys_tell_graders_and_their_versions_apart() {
        assert_eq!(identity(Grader::Ruminate), json!(ruminate_grade::VERSION));
        assert_eq!(identity(Grader::MathRuler), json!("mathruler 1"));
    }
}
