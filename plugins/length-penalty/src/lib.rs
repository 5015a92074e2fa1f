//! The reward `length-penalty`: the soft punishment of overlong responses of DAPO (Yu et al. 2025, section 3.4).

use ruminate_plugin::{Column, Reward, Row, Score};

ruminate_plugin::options! {
    /// scores a response by its length: 0 up to `max` - `buffer`, from there falling in a line to -1 at `max`, and -1 beyond
    struct LengthPenalty {
        /// what is counted: the `tokens` of the sample, a whole number, or the words of a text
        #[rule(one_of(&["tokens", "words"]))]
        by: String = "tokens",
        /// the field that holds it; without it `tokens`, or `reasoning` for words
        #[rule(not_empty())]
        field: Option<String> = (),
        /// the length from which the score is -1
        #[rule(at_least(1))]
        max: u64 = 1024,
        /// the length over which the score falls; 0 makes it a step
        buffer: u64 = 256,
    }
}

impl LengthPenalty {
    fn field(&self) -> &str {
        let default = if self.by == "tokens" { "tokens" } else { "reasoning" };
        self.field.as_deref().unwrap_or(default)
    }

    /// The score of a response of this length.
    fn penalty(&self, length: u64) -> f64 {
        let free = self.max - self.buffer;
        match length {
            _ if length <= free => 0.0,
            _ if length >= self.max => -1.0,
            _ => -((length - free) as f64) / self.buffer as f64,
        }
    }
}

impl Reward for LengthPenalty {
    fn check(&self) -> Result<(), String> {
        if self.buffer <= self.max {
            return Ok(());
        }
        Err(format!("`buffer` must be at most `max`, which is {}, not {}", self.max, self.buffer))
    }

    fn reads(&self) -> Vec<Column> {
        let kind = if self.by == "tokens" { "int" } else { "text" };
        vec![Column::new(self.field(), kind)]
    }

    fn score(&self, row: &Row) -> Result<Score, String> {
        let name = self.field();
        let length = if self.by == "tokens" {
            let tokens = row.int(name)?;
            u64::try_from(tokens).map_err(|_| format!("field `{name}` is {tokens}: a length is at least 0"))?
        } else {
            row.text(name)?.split_whitespace().count() as u64
        };
        let score = Score::new(self.penalty(length));
        Ok(if score.value < 0.0 { score.note(format!("{length} {} of {}", self.by, self.max)) } else { score })
    }
}

ruminate_plugin::reward!(LengthPenalty);

#[cfg(test)]
mod tests {
    use ruminate_plugin::{Column, Options, Reward, Row};

    use super::LengthPenalty;

    fn plugin(config: &str) -> LengthPenalty {
        LengthPenalty::from_json(config).expect("the config is right")
    }

    #[test]
    fn the_score_falls_over_the_buffer() {
        let soft = plugin(r#"{"max": 100, "buffer": 20}"#);
        for (length, expected) in [(0, 0.0), (80, 0.0), (81, -0.05), (90, -0.5), (99, -0.95), (100, -1.0), (9999, -1.0)]
        {
            assert_eq!(soft.penalty(length), expected, "{length}");
        }
        let step = plugin(r#"{"max": 100, "buffer": 0}"#);
        assert_eq!((step.penalty(99), step.penalty(100), step.penalty(101)), (0.0, 0.0, -1.0));
        assert_eq!(plugin(r#"{"max": 4, "buffer": 4}"#).penalty(1), -0.25);
    }

    #[test]
    fn tokens_or_words_are_counted() {
        let words = plugin(r#"{"by": "words", "max": 4, "buffer": 2}"#);
        assert_eq!(words.reads(), [Column::text("reasoning")]);
        let score = words.score(&Row::default().with("reasoning", "one two three")).expect("a text");
        assert_eq!((score.value, score.note.as_deref()), (-0.5, Some("3 words of 4")));
        let tokens = plugin(r#"{"field": "length"}"#);
        assert_eq!(tokens.reads(), [Column::int("length")]);
        assert_eq!(tokens.score(&Row::default().with("length", 3)).expect("a number").note, None);
        let error = tokens.score(&Row::default().with("length", -3)).expect_err("no length");
        assert_eq!(error, "field `length` is -3: a length is at least 0");
    }

    #[test]
    fn a_buffer_beyond_the_limit_is_refused() {
        let error = plugin(r#"{"max": 5, "buffer": 6}"#).check().expect_err("there is no such line");
        assert_eq!(error, "`buffer` must be at most `max`, which is 5, not 6");
    }
}
