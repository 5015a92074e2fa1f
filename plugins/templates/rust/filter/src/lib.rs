//! The filter `{{name}}`: drops texts of fewer than so many words.

use ruminate_plugin::{Column, Filter, Row, Verdict};

ruminate_plugin::options! {
    /// drops texts of fewer than so many words
    struct Plugin {
        /// the field whose words are counted
        #[rule(not_empty())]
        field: String = "reasoning",
        /// the fewest words that pass
        #[rule(at_least(1))]
        min: u64 = 5,
    }
}

impl Filter for Plugin {
    fn reads(&self) -> Vec<Column> {
        vec![Column::text(&self.field)]
    }

    fn keep(&self, row: &Row) -> Result<Verdict, String> {
        let words = row.text(&self.field)?.split_whitespace().count() as u64;
        // The same reason for the same cause, so that the reasons of a run can be counted.
        Ok(Verdict::keep_if(words >= self.min, || format!("fewer than {} words", self.min)))
    }
}

ruminate_plugin::filter!(Plugin);

#[cfg(test)]
mod tests {
    use ruminate_plugin::{Filter, Options, Row, Verdict};

    use super::Plugin;

    #[test]
    fn short_texts_are_dropped() {
        let plugin = Plugin::from_json(r#"{"min": 3}"#).expect("the config is right");
        let verdict = |text| plugin.keep(&Row::default().with("reasoning", text)).expect("a text");
        assert_eq!(verdict("so it is"), Verdict::Keep);
        assert_eq!(verdict("six"), Verdict::drop("fewer than 3 words"));
    }
}
