//! The shape of a response: a thought in its tag, then an answer in its own. Knows nothing of plugins.

/// What a response must look like.
pub struct Shape<'a> {
    /// The name of the tag round the thought.
    pub think: &'a str,
    /// The name of the tag round the answer.
    pub answer: &'a str,
    /// Whether the first tag may be missing.
    pub opened: bool,
    /// Whether text may stand between the blocks.
    pub between: bool,
    /// Whether a block may be empty.
    pub empty: bool,
}

impl Shape<'_> {
    /// What is wrong with the response: each of the four tags stands once, in order, and nothing but white space before the
    /// first and after the last. `None` if it has the shape. Linear in the text.
    pub fn fault(&self, response: &str) -> Option<String> {
        self.parts(response).err()
    }

    fn parts(&self, response: &str) -> Result<(), String> {
        let Self { think, answer, .. } = self;
        let tags = [format!("<{think}>"), format!("</{think}>"), format!("<{answer}>"), format!("</{answer}>")];
        let mut rest = response;
        // The text before each tag.
        let mut parts = [""; 4];
        for (index, tag) in tags.iter().enumerate() {
            let mut found = response.matches(tag.as_str());
            let (first, second) = (found.next(), found.next());
            if first.is_none() && index == 0 && self.opened {
                continue;
            }
            if first.is_none() {
                return Err(format!("no `{tag}`"));
            }
            if second.is_some() {
                return Err(format!("more than one `{tag}`"));
            }
            let before = tags[..index].last();
            let misplaced = || format!("`{tag}` stands before `{}`", before.map_or("", String::as_str));
            (parts[index], rest) = rest.split_once(tag.as_str()).ok_or_else(misplaced)?;
        }
        let [before, thought, between, inside] = parts.map(str::trim);
        if !before.is_empty() {
            return Err(format!("text before `{}`", tags[0]));
        }
        if !between.is_empty() && !self.between {
            return Err(format!("text between `{}` and `{}`", tags[1], tags[2]));
        }
        if !rest.trim().is_empty() {
            return Err(format!("text after `{}`", tags[3]));
        }
        match (thought.is_empty(), inside.is_empty()) {
            (true, _) if !self.empty => Err(format!("nothing in `{}`", tags[0])),
            (_, true) if !self.empty => Err(format!("nothing in `{}`", tags[2])),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Shape;

    const STRICT: Shape<'_> = Shape { think: "think", answer: "answer", opened: false, between: false, empty: false };

    fn check(shape: &Shape<'_>, response: &str, expected: Option<&str>) {
        assert_eq!(shape.fault(response).as_deref(), expected, "{response}");
    }

    #[test]
    fn a_response_has_one_thought_and_then_one_answer() {
        for (response, expected) in [
            ("<think>a</think><answer>b</answer>", None),
            (" <think>a\nb</think>\n\n<answer>\nü</answer>\n", None),
            ("", Some("no `<think>`")),
            ("<think>a", Some("no `</think>`")),
            ("<think>a</think>", Some("no `<answer>`")),
            ("<think>a</think><answer>b", Some("no `</answer>`")),
            ("<answer>b</answer>", Some("no `<think>`")),
            ("<think>a</think><think>a</think><answer>b</answer>", Some("more than one `<think>`")),
            ("<think>a</think></think><answer>b</answer>", Some("more than one `</think>`")),
            ("<think>a</think><answer>b</answer><answer>b</answer>", Some("more than one `<answer>`")),
            ("<answer>b</answer><think>a</think>", Some("`<answer>` stands before `</think>`")),
            ("</think>a<think><answer>b</answer>", Some("`</think>` stands before `<think>`")),
            ("<think>a<answer>b</answer></think>", Some("`<answer>` stands before `</think>`")),
            ("x <think>a</think><answer>b</answer>", Some("text before `<think>`")),
            ("<think>a</think>so<answer>b</answer>", Some("text between `</think>` and `<answer>`")),
            ("<think>a</think><answer>b</answer>.", Some("text after `</answer>`")),
            ("<think> </think><answer>b</answer>", Some("nothing in `<think>`")),
            ("<think>a</think><answer>\n</answer>", Some("nothing in `<answer>`")),
        ] {
            check(&STRICT, response, expected);
        }
    }

    #[test]
    fn each_demand_can_be_lifted() {
        let opened = Shape { opened: true, ..STRICT };
        check(&opened, "a</think><answer>b</answer>", None);
        check(&opened, "<think>a</think><answer>b</answer>", None);
        check(&opened, "</think><answer>b</answer>", Some("nothing in `<think>`"));
        check(&Shape { between: true, ..STRICT }, "<think>a</think>so<answer>b</answer>", None);
        check(&Shape { empty: true, ..STRICT }, "<think></think><answer></answer>", None);
        let named = Shape { think: "思考", answer: "final", ..STRICT };
        check(&named, "<思考>a</思考><final>b</final>", None);
    }
}
