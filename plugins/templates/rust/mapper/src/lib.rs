//! The mapper `{{name}}`: makes a record of each paragraph of a text.

use ruminate_plugin::{Column, Fields, Mapper, Row};

ruminate_plugin::options! {
    /// makes a record of each paragraph of a text
    struct Plugin {
        /// the field that holds the text, and then a paragraph of it
        #[rule(not_empty())]
        field: String = "reasoning",
        /// what stands between two paragraphs
        #[rule(not_empty())]
        between: String = "\n\n",
    }
}

impl Mapper for Plugin {
    fn reads(&self) -> Vec<Column> {
        vec![Column::text(&self.field)]
    }

    fn writes(&self) -> Vec<Column> {
        vec![Column::text(&self.field), Column::int("words")]
    }

    fn map(&self, row: &Row) -> Result<Vec<Fields>, String> {
        let paragraphs = row.text(&self.field)?.split(&self.between).map(str::trim).filter(|text| !text.is_empty());
        let fields = |text: &str| {
            let words = text.split_whitespace().count() as i64;
            Fields::new().set(&self.field, text).set("words", words)
        };
        Ok(paragraphs.map(fields).collect())
    }
}

ruminate_plugin::mapper!(Plugin);

#[cfg(test)]
mod tests {
    use ruminate_plugin::{Fields, Mapper, Options, Row};

    use super::Plugin;

    #[test]
    fn each_paragraph_is_a_row() {
        let plugin = Plugin::from_json("{}").expect("defaults are right");
        let rows = plugin.map(&Row::default().with("reasoning", "one two\n\n three\n")).expect("a text");
        let row = |text: &str, words: i64| Fields::new().set("reasoning", text).set("words", words);
        assert_eq!(rows, [row("one two", 2), row("three", 1)]);
    }
}
