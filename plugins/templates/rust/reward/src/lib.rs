//! The reward `{{name}}`: 1 for a text of at most so many words, less and less for longer ones.

use ruminate_plugin::{Column, Reward, Row, Score};

ruminate_plugin::options! {
    /// scores 1 for a text of at most so many words, and the share of its words that was allowed for a longer one
    struct Plugin {
        /// the field whose words are counted
        #[rule(not_empty())]
        field: String = "reasoning",
        /// the most words that score 1
        #[rule(at_least(1))]
        words: u64 = 200,
    }
}

impl Reward for Plugin {
    fn reads(&self) -> Vec<Column> {
        vec![Column::text(&self.field)]
    }

    fn score(&self, row: &Row) -> Result<Score, String> {
        let words = row.text(&self.field)?.split_whitespace().count() as u64;
        if words <= self.words {
            return Ok(Score::new(1.0));
        }
        Ok(Score::new(self.words as f64 / words as f64).note(format!("{words} words of {}", self.words)))
    }
}

ruminate_plugin::reward!(Plugin);

#[cfg(test)]
mod tests {
    use ruminate_plugin::{Options, Reward, Row, Score};

    use super::Plugin;

    #[test]
    fn longer_texts_score_less() {
        let plugin = Plugin::from_json(r#"{"words": 2}"#).expect("the config is right");
        let score = |text| plugin.score(&Row::default().with("reasoning", text)).expect("a text");
        assert_eq!(score("so six"), Score::new(1.0));
        assert_eq!(score("so it is six"), Score::new(0.5).note("4 words of 2"));
    }
}
