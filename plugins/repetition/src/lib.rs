//! The filter `repetition`: drops traces that run in a loop at their end, or say the same again and again.

mod loops;
mod ngrams;

use ruminate_plugin::{Column, Filter, Row, Verdict};

ruminate_plugin::options! {
    /// drops texts that end in a loop, or too much of which is repeated
    struct Repetition {
        /// the field that holds the text
        #[rule(not_empty())]
        field: String = "reasoning",
        /// how often the same passage may stand in a row at the end of the text
        #[rule(at_least(1))]
        max_loops: u64 = 3,
        /// the fewest characters that make a loop, all its passages together; a row of dots or zeros is none
        #[rule(at_least(1))]
        min_loop: u64 = 100,
        /// the words of an n-gram
        #[rule(between(1, 1000))]
        n: u64 = 10,
        /// the largest share of the text that may lie in n-grams which stood before in it; 1 allows any
        #[rule(between(0, 1))]
        max_share: f64 = 0.3,
    }
}

impl Filter for Repetition {
    fn reads(&self) -> Vec<Column> {
        vec![Column::text(&self.field)]
    }

    fn keep(&self, row: &Row) -> Result<Verdict, String> {
        let text: Option<&str> = row.get(&self.field)?;
        let text = text.unwrap_or_default();
        if loops::ends_in_loop(text, self.max_loops, self.min_loop) {
            let times = if self.max_loops == 1 { "once".to_owned() } else { format!("{} times", self.max_loops) };
            return Ok(Verdict::drop(format!("ends in a loop: the same passage more than {times} in a row")));
        }
        let n = usize::try_from(self.n).unwrap_or(usize::MAX);
        let within = self.max_share >= 1.0 || ngrams::repeated_share(text, n) <= self.max_share;
        Ok(Verdict::keep_if(within, || format!("too large a share of the text is repeated {n}-grams")))
    }
}

ruminate_plugin::filter!(Repetition);

#[cfg(test)]
mod tests {
    use ruminate_plugin::{Filter, Options, Row, Verdict};

    use super::Repetition;

    fn verdict(config: &str, text: &str) -> Verdict {
        let plugin = Repetition::from_json(config).expect("the config is right");
        plugin.keep(&Row::default().with("reasoning", text)).expect("a text")
    }

    #[test]
    fn a_loop_and_a_share_have_reasons_of_their_own() {
        let looped = "Let me check that again, slowly. ".repeat(12);
        assert_eq!(
            verdict("{}", &looped),
            Verdict::drop("ends in a loop: the same passage more than 3 times in a row")
        );
        let plan = "first we add both sides of the figure and then we halve the sum";
        let text = format!("{plan} so 4. But {plan} gives 5. Now {plan} gives 6. And {plan} gives 7.");
        assert_eq!(verdict("{}", &text), Verdict::drop("too large a share of the text is repeated 10-grams"));
        assert_eq!(verdict(r#"{"max_share": 0.9}"#, &text), Verdict::Keep);
        assert_eq!(verdict("{}", ""), Verdict::Keep);
    }
}
