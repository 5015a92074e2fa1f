//! The filter `max-words`: drops traces of more than so many words. OpenVLThinker tried it against reflection and kept
//! `cut-reflection` instead.

use ruminate_plugin::{Column, Filter, Row, Verdict};

ruminate_plugin::options! {
    /// drops records whose text has more than so many words
    struct MaxWords {
        /// the field whose words are counted
        #[rule(not_empty())]
        field: String = "reasoning",
        /// the most words that pass
        #[rule(at_least(1))]
        max: u64 = 500,
    }
}

impl Filter for MaxWords {
    fn reads(&self) -> Vec<Column> {
        vec![Column::text(&self.field)]
    }

    fn keep(&self, row: &Row) -> Result<Verdict, String> {
        // A null has no words.
        let text: Option<&str> = row.get(&self.field)?;
        let within = !exceeds(text.unwrap_or_default(), self.max);
        Ok(Verdict::keep_if(within, || format!("more than {} words", self.max)))
    }
}

ruminate_plugin::filter!(MaxWords);

/// Whether `text` has more than `max` words: runs of anything but white space.
fn exceeds(text: &str, max: u64) -> bool {
    text.split_whitespace().zip(0..=max).count() as u64 > max
}

#[cfg(test)]
mod tests {
    use ruminate_plugin::{Filter, Options, Row, Verdict};

    use super::{MaxWords, exceeds};

    #[test]
    fn words_are_runs_between_white_space() {
        assert!(!exceeds("", 1));
        assert!(!exceeds("  one,two ", 1));
        assert!(exceeds("one\ttwo", 1));
        assert!(!exceeds("one two three", 3));
        assert!(exceeds("one two three four five", 3));
    }

    #[test]
    fn the_limit_itself_passes() {
        let plugin = MaxWords::from_json(r#"{"field": "text", "max": 2}"#).expect("the config is right");
        let verdict = |text: Option<&str>| plugin.keep(&Row::default().with("text", text)).expect("a text");
        assert_eq!(verdict(Some("zwei Wörter")), Verdict::Keep);
        assert_eq!(verdict(Some("one two three")), Verdict::drop("more than 2 words"));
        assert_eq!(verdict(None), Verdict::Keep);
    }
}
