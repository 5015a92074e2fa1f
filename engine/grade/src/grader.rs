//! The graders by name and version: the choice between the project's own and those that published numbers rest on. Knows
//! no rules.

use std::fmt;

use crate::{Mode, Rule, VERSION, Verdict, mathruler};

/// Whose rules decide.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Grader {
    /// The project's own.
    #[default]
    Ruminate,
    /// mathruler 0.1.0's, slips included.
    MathRuler,
}

impl Grader {
    /// All graders, the default one first.
    pub const ALL: [Self; 2] = [Self::Ruminate, Self::MathRuler];

    /// The name that graphs and the command line use.
    pub fn name(self) -> &'static str {
        match self {
            Self::Ruminate => "ruminate",
            Self::MathRuler => "mathruler",
        }
    }

    /// The version of the rules. With the name it identifies every verdict, so both are part of what is cached under.
    pub fn version(self) -> u32 {
        match self {
            Self::Ruminate => VERSION,
            Self::MathRuler => mathruler::VERSION,
        }
    }

    /// The grader of this name.
    ///
    /// # Errors
    /// No grader has this name; the error offers the nearest one.
    pub fn from_name(name: &str) -> Result<Self, UnknownGrader> {
        let known = Self::ALL.into_iter().find(|grader| grader.name() == name);
        known.ok_or_else(|| UnknownGrader { name: name.to_owned() })
    }

    /// Whether a prediction gives the same answer as the truth.
    pub fn grade(self, prediction: &str, truth: &str, mode: Mode) -> Verdict {
        match self {
            Self::Ruminate => crate::grade(prediction, truth, mode),
            Self::MathRuler => mathruler::grade(prediction, truth, mode),
        }
    }

    /// The rule by which a prediction gives the same answer as the truth: [`Self::grade`] without the texts that explain it.
    pub fn rule(self, prediction: &str, truth: &str, mode: Mode) -> Rule {
        match self {
            Self::Ruminate => crate::rule(prediction, truth, mode),
            Self::MathRuler => mathruler::grade(prediction, truth, mode).rule,
        }
    }

    /// The part of a prediction that is graded; `None` where a response has no answer.
    pub fn extract(self, prediction: &str, mode: Mode) -> Option<&str> {
        match (self, mode) {
            (Self::Ruminate, Mode::Answer) => Some(prediction.trim()),
            (Self::Ruminate, Mode::Response) => crate::extract(prediction).map(|(answer, _)| answer),
            (Self::MathRuler, Mode::Answer) => Some(prediction),
            (Self::MathRuler, Mode::Response) => mathruler::extract(prediction),
        }
    }
}

impl fmt::Display for Grader {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{} {}", self.name(), self.version())
    }
}

/// A name that no grader has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnknownGrader {
    name: String,
}

impl fmt::Display for UnknownGrader {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shared = |grader: &Grader| {
            let known = grader.name().chars();
            self.name.to_lowercase().chars().zip(known).take_while(|(left, right)| left == right).count()
        };
        write!(formatter, "unknown grader `{}`: ", self.name)?;
        match Grader::ALL.into_iter().max_by_key(shared).filter(|grader| shared(grader) > 1) {
            Some(near) => write!(formatter, "did you mean `{}`?", near.name()),
            None => write!(formatter, "expected `{}`", Grader::ALL.map(Grader::name).join("` or `")),
        }
    }
}

impl std::error::Error for UnknownGrader {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn graders_are_found_by_name() {
        for grader in Grader::ALL {
            assert_eq!(Grader::from_name(grader.name()), Ok(grader));
        }
        let message = |name| Grader::from_name(name).map_err(|error| error.to_string());
        assert_eq!(message("mathrules"), Err("unknown grader `mathrules`: did you mean `mathruler`?".into()));
        assert_eq!(message("best"), Err("unknown grader `best`: expected `ruminate` or `mathruler`".into()));
    }
}
