//! The names that a plugin may have: they become a folder, a crate, a component and a word in graphs.

const LENGTH_MAX: usize = 64;

/// Words that Rust keeps for itself, and crates that are always there: none of them can name a crate.
const TAKEN: [&str; 60] = [
    "abstract",
    "alloc",
    "as",
    "async",
    "await",
    "become",
    "box",
    "break",
    "const",
    "continue",
    "core",
    "crate",
    "do",
    "dyn",
    "else",
    "enum",
    "extern",
    "false",
    "final",
    "fn",
    "for",
    "gen",
    "if",
    "impl",
    "in",
    "let",
    "loop",
    "macro",
    "match",
    "mod",
    "move",
    "mut",
    "override",
    "panic-abort",
    "panic-unwind",
    "priv",
    "proc-macro",
    "pub",
    "ref",
    "return",
    "ruminate-plugin",
    "self",
    "static",
    "std",
    "struct",
    "super",
    "test",
    "trait",
    "true",
    "try",
    "type",
    "typeof",
    "union",
    "unsafe",
    "unsized",
    "use",
    "virtual",
    "where",
    "while",
    "yield",
];

/// Checks the name of a plugin: words of small letters and digits with hyphens between them.
///
/// # Errors
/// What is wrong with it, and a name that would do if one is near.
pub(super) fn check(name: &str) -> Result<(), String> {
    let shown = name.escape_debug();
    if TAKEN.contains(&name) {
        return Err(format!("the name `{shown}` is taken by Rust: choose another, such as `{name}-plugin`"));
    }
    if name.len() > LENGTH_MAX {
        return Err(format!("the name `{shown}` is too long: expected at most {LENGTH_MAX} letters"));
    }
    let is_word =
        |word: &str| !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit());
    if name.starts_with(|first: char| first.is_ascii_lowercase()) && name.split('-').all(is_word) {
        return Ok(());
    }
    let expected = "expected small letters and digits with hyphens between words";
    let near = nearest(name);
    match near.as_str() {
        "" => Err(format!("`{shown}` is no name for a plugin: {expected}, such as `max-words`")),
        near => Err(format!("`{shown}` is no name for a plugin: {expected}; `{near}` would do")),
    }
}

/// The name with hyphens for underscores.
pub(super) fn snake(name: &str) -> String {
    name.replace('-', "_")
}

/// The nearest name that would do, or nothing.
fn nearest(name: &str) -> String {
    let mut near = String::new();
    let mut after_small = false;
    for letter in name.chars().take(LENGTH_MAX) {
        if letter.is_ascii_alphanumeric() {
            if letter.is_ascii_uppercase() && after_small {
                near.push('-');
            }
            after_small = !letter.is_ascii_uppercase();
            near.push(letter.to_ascii_lowercase());
        } else {
            after_small = false;
            if !near.is_empty() && !near.ends_with('-') {
                near.push('-');
            }
        }
    }
    let near = near.trim_matches('-').trim_start_matches(|first: char| first.is_ascii_digit() || first == '-');
    if TAKEN.contains(&near) { String::new() } else { near.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::check;

    #[test]
    fn names_are_kebab_case() {
        for name in ["a", "max-words", "x2", "cut-at-2-words"] {
            assert_eq!(check(name), Ok(()), "{name}");
        }
        let cases = [
            ("MaxWords", "`max-words` would do"),
            ("max_words", "`max-words` would do"),
            ("2fast", "`fast` would do"),
            ("a--b", "`a-b` would do"),
            ("../x", "`x` would do"),
            ("größe", "`gr-e` would do"),
            ("", "such as `max-words`"),
            ("ß", "such as `max-words`"),
            ("-", "such as `max-words`"),
            ("match", "taken by Rust"),
            ("std", "taken by Rust"),
            ("Fn", "such as `max-words`"),
        ];
        for (name, wanted) in cases {
            let error = check(name).expect_err(name);
            assert!(error.ends_with(wanted) || error.contains("taken") && error.contains(wanted), "{name}: {error}");
        }
        assert!(check(&"a".repeat(65)).is_err());
    }
}
