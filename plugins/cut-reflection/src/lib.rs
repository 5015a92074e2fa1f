//! The mapper `cut-reflection`: cuts a reasoning trace where it begins to doubt itself and keeps its final answer, as
//! OpenVLThinker did for its first round of SFT data.

mod cut;

use ruminate_plugin::{Column, Fields, Mapper, Row};

ruminate_plugin::options! {
    /// cuts a reasoning trace where it begins to doubt itself and keeps its final answer
    struct CutReflection {
        /// the field that holds the trace
        #[rule(not_empty())]
        field: String = "reasoning",
        /// the phrases at which a trace is cut, exactly as written; the earliest in the trace counts
        #[rule(not_empty())]
        cut_at: Vec<String> = ["Wait,", "But wait,", "But the question"],
    }
}

impl Mapper for CutReflection {
    fn reads(&self) -> Vec<Column> {
        vec![Column::text(&self.field)]
    }

    fn writes(&self) -> Vec<Column> {
        vec![Column::text(&self.field)]
    }

    fn map(&self, row: &Row) -> Result<Vec<Fields>, String> {
        let trace: Option<&str> = row.get(&self.field)?;
        let cut = trace.and_then(|trace| cut::cut_reflection(trace, &self.cut_at));
        // A trace without doubt is not written again.
        Ok(vec![cut.map_or_else(Fields::new, |cut| Fields::new().set(&self.field, cut))])
    }
}

ruminate_plugin::mapper!(CutReflection);

#[cfg(test)]
mod tests {
    use ruminate_plugin::{Fields, Mapper, Options, Row};

    use super::CutReflection;

    #[test]
    fn only_a_cut_trace_is_written() {
        let plugin = CutReflection::from_json(r#"{"cut_at": ["Hm"]}"#).expect("the config is right");
        let rows = |trace: Option<&str>| plugin.map(&Row::default().with("reasoning", trace)).expect("a text");
        assert_eq!(rows(Some("<think>Six. Hm</think>6")), [Fields::new().set("reasoning", "<think>Six.</think>6")]);
        assert_eq!(rows(Some("<think>Six.</think>6")), [Fields::new()]);
        assert_eq!(rows(None), [Fields::new()]);
    }
}
