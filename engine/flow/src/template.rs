//! Prompt templates over a record's fields (minijinja: `{{ question }}`). Knows nothing of models.

use std::collections::BTreeSet;

use minijinja::syntax::SyntaxConfig;
use minijinja::{Environment, UndefinedBehavior};

use crate::record::Record;

/// A parsed template. Rendering fails on a field that the record lacks: a prompt with a hole is never sent.
#[derive(Clone)]
pub struct Template {
    environment: Environment<'static>,
    fields: BTreeSet<String>,
}

const NAME: &str = "prompt";

impl Template {
    /// Parses `source`.
    ///
    /// # Errors
    /// What is wrong with the template, with its line.
    pub fn parse(source: &str) -> Result<Self, String> {
        let mut environment = Environment::new();
        environment.set_undefined_behavior(UndefinedBehavior::Strict);
        let syntax = SyntaxConfig::builder().keep_trailing_newline(true).build();
        environment.set_syntax(syntax.map_err(|error| describe(&error))?);
        environment.add_template_owned(NAME, source.to_owned()).map_err(|error| describe(&error))?;
        let template = environment.get_template(NAME).map_err(|error| describe(&error))?;
        let fields = template.undeclared_variables(false).into_iter().collect();
        Ok(Self { environment, fields })
    }

    /// The names of the fields that the template reads.
    pub fn fields(&self) -> &BTreeSet<String> {
        &self.fields
    }

    /// The text for `record`.
    ///
    /// # Errors
    /// A field that the record lacks, or an operation that its value does not allow.
    pub fn render(&self, record: &Record) -> Result<String, String> {
        let template = self.environment.get_template(NAME).map_err(|error| describe(&error))?;
        template.render(minijinja::value::Serde(&record.fields)).map_err(|error| describe(&error))
    }
}

fn describe(error: &minijinja::Error) -> String {
    let detail = error.detail().map_or_else(|| error.kind().to_string(), str::to_owned);
    match error.line() {
        Some(line) => format!("template line {line}: {detail}"),
        None => format!("template: {detail}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::Value;

    #[test]
    fn a_template_names_and_fills_its_fields() {
        let template =
            Template::parse("Q: {{ question }}\n{% if choices %}{{ choices | join(', ') }}{% endif %}").unwrap();
        assert_eq!(template.fields().iter().map(String::as_str).collect::<Vec<_>>(), ["choices", "question"]);
        let mut record = Record { id: "1".into(), fields: Default::default() };
        assert!(template.render(&record).unwrap_err().contains("undefined"));
        record.fields.insert("question".into(), Value::text("how many?"));
        record.fields.insert("choices".into(), Value::List(vec![Value::text("a"), Value::text("b")]));
        assert_eq!(template.render(&record).unwrap(), "Q: how many?\na, b");
        assert!(Template::parse("{{ question").is_err());
    }
}
