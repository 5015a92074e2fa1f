//! The reward `accuracy`: whether a response gives the right answer, by the rules with which the engine grades evaluations.

#[cfg(target_arch = "wasm32")]
mod memory;

use ruminate_grade::{Mode, rule};
use ruminate_plugin::{Column, Reward, Row, Score};

#[cfg(target_arch = "wasm32")]
#[global_allocator]
static MEMORY: memory::Memory = memory::Memory::new();

ruminate_plugin::options! {
    /// scores 1 for a response whose answer equals the truth, else 0
    struct Accuracy {
        /// the field that holds the response
        #[rule(not_empty())]
        field: String = "reasoning",
        /// the field that holds the truth
        #[rule(not_empty())]
        answer: String = "answer",
        /// whether `field` holds a whole response, of which the last `<answer>`, `\boxed{}` or `answer is` counts, or a bare answer
        #[rule(one_of(&["response", "answer"]))]
        mode: String = "response",
    }
}

impl Reward for Accuracy {
    fn check(&self) -> Result<(), String> {
        if self.field != self.answer {
            return Ok(());
        }
        Err(["`field` and `answer` are both `", &self.field, "`: a response is compared with another field"].concat())
    }

    fn reads(&self) -> Vec<Column> {
        vec![Column::text(&self.field), Column::text(&self.answer)]
    }

    fn score(&self, row: &Row) -> Result<Score, String> {
        let mode = if self.mode == "answer" { Mode::Answer } else { Mode::Response };
        // No response is a wrong one; no truth is an error.
        let response: Option<&str> = row.get(&self.field)?;
        let rule = rule(response.unwrap_or_default(), row.text(&self.answer)?, mode);
        Ok(Score::new(f64::from(u8::from(rule.is_correct()))).note(rule.as_str()))
    }
}

ruminate_plugin::reward!(Accuracy);

#[cfg(test)]
mod tests {
    use ruminate_plugin::{Options, Reward, Row};

    use super::Accuracy;

    fn score(config: &str, response: &str, answer: &str) -> (f64, String) {
        let plugin = Accuracy::from_json(config).expect("the config is right");
        let row = Row::default().with("reasoning", response).with("answer", answer);
        let score = plugin.score(&row).expect("both are texts");
        (score.value, score.note.unwrap_or_default())
    }

    #[test]
    fn the_answer_of_a_response_is_graded() {
        let response = "<think>half of it</think> <answer>\\frac{1}{2}</answer>";
        assert_eq!(score("{}", response, "0.5"), (1.0, "numeric".to_owned()));
        assert_eq!(score("{}", response, "1/3").0, 0.0);
        assert_eq!(score("{}", "no tag: 0.5", "1/2"), (1.0, "numeric".to_owned()));
        assert_eq!(score("{}", "<think>no answer: 0.5", "0.5"), (0.0, "none".to_owned()));
        assert_eq!(score(r#"{"mode": "answer"}"#, "0.5", "1/2").0, 1.0);
    }

    #[test]
    fn no_response_is_wrong_and_no_truth_an_error() {
        let plugin = Accuracy::from_json("{}").expect("defaults are right");
        let row = Row::default().with("reasoning", None::<String>).with("answer", "4");
        assert_eq!(plugin.score(&row).map(|score| score.value), Ok(0.0));
        let row = Row::default().with("reasoning", "4").with("answer", None::<String>);
        assert_eq!(plugin.score(&row).map(|score| score.value), Err("field `answer` is null, not text".to_owned()));
    }
}
