//! The filter `format`: keeps responses of the form `<think>...</think> <answer>...</answer>`.

mod shape;

use ruminate_plugin::{Column, Filter, Row, Verdict};

use self::shape::Shape;

ruminate_plugin::options! {
    /// drops responses that are not one `<think>` block and then one `<answer>` block
    struct Format {
        /// the field that holds the response
        #[rule(not_empty())]
        field: String = "reasoning",
        /// the name of the tag round the thought
        #[rule(not_empty())]
        think: String = "think",
        /// the name of the tag round the answer
        #[rule(not_empty())]
        answer: String = "answer",
        /// whether the first tag may be missing, because the prompt ends with it
        opened: bool = false,
        /// whether text may stand between the two blocks
        between: bool = false,
        /// whether a thought or an answer without text passes
        empty: bool = false,
    }
}

impl Filter for Format {
    fn check(&self) -> Result<(), String> {
        for (name, tag) in [("think", &self.think), ("answer", &self.answer)] {
            if let Some(wrong) = tag.chars().find(|character| "<>/".contains(*character) || character.is_whitespace()) {
                return Err(format!("`{name}` must be the name of a tag, such as `{name}`: it holds `{wrong}`"));
            }
        }
        if self.think == self.answer {
            return Err(format!("`think` and `answer` must be two names, not both `{}`", self.think));
        }
        Ok(())
    }

    fn reads(&self) -> Vec<Column> {
        vec![Column::text(&self.field)]
    }

    fn keep(&self, row: &Row) -> Result<Verdict, String> {
        let response: Option<&str> = row.get(&self.field)?;
        let Self { think, answer, .. } = self;
        let shape = Shape { think, answer, opened: self.opened, between: self.between, empty: self.empty };
        Ok(shape.fault(response.unwrap_or_default()).map_or(Verdict::Keep, Verdict::Drop))
    }
}

ruminate_plugin::filter!(Format);

#[cfg(test)]
mod tests {
    use ruminate_plugin::{Filter, Options, Row, Verdict};

    use super::Format;

    #[test]
    fn tags_are_names() {
        let error = |config: &str| Format::from_json(config).expect("the types are right").check().expect_err("wrong");
        assert_eq!(
            error(r#"{"think": "<think>"}"#),
            "`think` must be the name of a tag, such as `think`: it holds `<`"
        );
        assert_eq!(error(r#"{"think": "answer"}"#), "`think` and `answer` must be two names, not both `answer`");
    }

    #[test]
    fn a_null_is_a_response_without_tags() {
        let plugin = Format::from_json("{}").expect("defaults are right");
        let verdict = plugin.keep(&Row::default().with("reasoning", None::<String>));
        assert_eq!(verdict, Ok(Verdict::drop("no `<think>`")));
    }
}
