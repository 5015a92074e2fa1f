//! The macros that pylatexenc knows: their arguments and their text, from a table that a script makes.

use std::sync::LazyLock;

/// A known macro.
pub(super) struct Macro {
    pub(super) name: &'static str,
    /// `{` needed, `[` optional, `*` a star.
    pub(super) arguments: &'static str,
    pub(super) text: Text,
}

/// How a macro reads.
pub(super) enum Text {
    /// As nothing.
    Drop,
    /// As its arguments.
    Arguments,
    /// As this text.
    Plain(String),
    /// With `%s` for each argument, or `%(n)s` for one of them.
    Pattern(&'static str),
    /// As its argument with this accent on each character.
    Accent(char),
    /// As its argument in this alphabet.
    Style(&'static str),
    /// In a way of its own.
    Special,
}

static MACROS: LazyLock<Vec<Macro>> =
    LazyLock::new(|| include_str!("../macros.txt").lines().filter_map(read).collect());

/// The macro of this name.
pub(super) fn find(name: &str) -> Option<&'static Macro> {
    let at = MACROS.binary_search_by(|known| known.name.cmp(name)).ok()?;
    MACROS.get(at)
}

fn read(line: &'static str) -> Option<Macro> {
    if line.starts_with("# Made") {
        return None;
    }
    // The name may be a space, and so may the text.
    let at = 1 + line.get(1..)?.find(' ')?;
    let (name, rest) = (&line[..at], &line[at + 1..]);
    let (arguments, rest) = rest.split_once(' ')?;
    let (kind, text) = rest.split_once(' ')?;
    let text = match kind {
        "arguments" => Text::Arguments,
        "text" => Text::Plain(text.replace("\\n", "\n")),
        "pattern" => Text::Pattern(text),
        "accent" => Text::Accent(text.chars().next()?),
        "style" => Text::Style(text),
        "call" => Text::Special,
        _ => Text::Drop,
    };
    Some(Macro { name, arguments: if arguments == "-" { "" } else { arguments }, text })
}

/// Arguments of an environment.
pub(super) fn environment_arguments(name: &str) -> &'static str {
    match name {
        "figure" | "figure*" | "table" | "table*" | "theorem" | "proposition" | "lemma" | "corollary"
        | "definition" | "conjecture" | "remark" | "proof" | "thm" | "prop" | "lem" | "cor" | "conj" | "rem"
        | "defn" | "enumerate" | "itemize" | "description" => "[",
        "tabular" | "alignat" | "alignat*" => "{",
        "tabular*" => "{{",
        "tabularx" => "{[{",
        "array" => "[{",
        _ => "",
    }
}

/// Whether an environment's body is mathematics.
pub(super) fn is_math_environment(name: &str) -> bool {
    let name = name.strip_suffix('*').unwrap_or(name);
    matches!(name, "equation" | "eqnarray" | "align" | "gather" | "flalign" | "multline" | "alignat" | "split")
}

/// Whether a macro's argument is text even where the macro stands in mathematics.
pub(super) fn takes_text(name: &str) -> bool {
    matches!(
        name,
        "mbox"
            | "textrm"
            | "textit"
            | "textbf"
            | "textmd"
            | "textsc"
            | "textsf"
            | "textsl"
            | "texttt"
            | "textup"
            | "text"
    )
}
