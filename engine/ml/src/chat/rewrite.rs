//! A chat template's source as minijinja takes it: Jinja's constructs that it lacks are written with those that it has, and
//! what could overflow the stack is refused. Knows nothing of messages.

use std::ops::Range;

use minijinja::machinery::{Span, Token, tokenize};
use minijinja::syntax::SyntaxConfig;

/// The filter that replaces `{% generation %}`.
pub(super) const LEARNED: &str = "ruminate_learned";
/// The filter that every value passes on its way into a namespace.
pub(super) const STORED: &str = "ruminate_stored";
/// Bytes of a template at most. The largest of published models have a tenth of that.
const MOST_BYTES: usize = 256 << 10;
/// Words and signs between `{{` and `}}` at most: the parser and the compiler go as deep as there are operators in a row.
const MOST_TOKENS: usize = 4096;

/// A template's source, rewritten.
pub(super) struct Rewritten {
    pub(super) source: String,
    /// Whether it has `{% generation %}` blocks.
    pub(super) marks_learned: bool,
}

/// A place in the source and what comes there.
type Edit = (Range<usize>, String);
type Tokens<'a, 'b> = &'b [(Token<'a>, Span)];

/// Rewrites a template.
///
/// # Errors
/// When it is too long to be a chat template.
pub(super) fn rewrite(source: &str, syntax: &SyntaxConfig) -> Result<Rewritten, String> {
    if source.len() > MOST_BYTES {
        return Err(format!(
            "the chat template has {} bytes, expected at most {MOST_BYTES}: those of published models have a tenth of that",
            source.len()
        ));
    }
    // As Jinja reads sources.
    let mut source = source.replace("\r\n", "\n").replace('\r', "\n");
    // What has no tokens is left to the parser, which says why.
    let tokens: Vec<(Token<'_>, Span)> = tokenize(&source, false, syntax.clone()).map_while(Result::ok).collect();
    let mut edits: Vec<Edit> = Vec::new();
    let mut marks_learned = false;
    let mut rest = tokens.as_slice();
    while let Some(start) = rest.iter().position(|(token, _)| matches!(token, Token::BlockStart | Token::VariableStart))
    {
        let tag = &rest[start + 1..];
        let length = tag.iter().position(|(token, _)| matches!(token, Token::BlockEnd | Token::VariableEnd));
        let Some(length) = length else { break };
        let tag = &tag[..length];
        if length > MOST_TOKENS {
            let line = rest[start].1.start_line;
            return Err(format!(
                "line {line}: one expression has {length} words and signs, expected at most {MOST_TOKENS}"
            ));
        }
        edit_formats(tag, &mut edits);
        if matches!(rest[start].0, Token::BlockStart) {
            marks_learned |= edit_statement(tag, &mut edits);
        }
        rest = &rest[start + 1 + length..];
    }
    edits.sort_by_key(|(place, _)| place.start);
    for (place, text) in edits.into_iter().rev() {
        source.replace_range(place, &text);
    }
    Ok(Rewritten { source, marks_learned })
}

fn bytes(span: &Span) -> Range<usize> {
    span.start_offset as usize..span.end_offset as usize
}

/// `{% generation %}` becomes a filter block, and `{% set a.b = c %}` stores through a filter. Whether it is the former.
fn edit_statement(tag: Tokens<'_, '_>, edits: &mut Vec<Edit>) -> bool {
    let Some((_, last)) = tag.last() else { return false };
    match &tag[0].0 {
        Token::Ident("generation") if tag.len() == 1 => {
            edits.push((bytes(last), format!("filter {LEARNED}")));
            return true;
        }
        Token::Ident("endgeneration") if tag.len() == 1 => edits.push((bytes(last), "endfilter".to_owned())),
        Token::Ident("set") => {
            let end = bytes(last).end;
            let assign = tag.iter().position(|(token, _)| matches!(token, Token::Assign | Token::Pipe));
            let targets = &tag[..assign.unwrap_or(tag.len())];
            if !targets.iter().any(|(token, _)| matches!(token, Token::Dot)) {
                return false;
            }
            match assign.map(|assign| &tag[assign]) {
                Some((Token::Assign, span)) => {
                    edits.push((bytes(span).end..bytes(span).end, " (".to_owned()));
                    edits.push((end..end, format!(")|{STORED}")));
                }
                // A block whose text is stored.
                _ => edits.push((end..end, format!("|{STORED}"))),
            }
        }
        _ => {}
    }
    false
}

/// `"..." % values` becomes `"..."|format(values)`: a text has no `%` here.
fn edit_formats(tag: Tokens<'_, '_>, edits: &mut Vec<Edit>) {
    for at in 1..tag.len() {
        let text = matches!(tag[at - 1].0, Token::Str(_) | Token::String(_));
        if !text || !matches!(tag[at].0, Token::Mod) {
            continue;
        }
        // In `a * "..." % b` the product comes first.
        let before = at.checked_sub(2).map(|before| &tag[before].0);
        if matches!(before, Some(Token::Mul | Token::Div | Token::FloorDiv | Token::Mod | Token::Pow)) {
            continue;
        }
        let operand = &tag[at + 1..];
        let Some((length, trailed)) = operand_length(operand) else { continue };
        if matches!(operand[0].0, Token::ParenOpen) && !trailed {
            edits.push((bytes(&tag[at].1), "|format".to_owned()));
        } else {
            let end = bytes(&operand[length - 1].1).end;
            edits.push((bytes(&tag[at].1), "|format(".to_owned()));
            edits.push((end..end, ")".to_owned()));
        }
    }
}

/// How many tokens the value at the beginning has, with its attributes, items, calls and filters; whether it has such.
fn operand_length(tokens: Tokens<'_, '_>) -> Option<(usize, bool)> {
    let mut length = match &tokens.first()?.0 {
        Token::Ident(_) | Token::Str(_) | Token::String(_) | Token::Int(_) | Token::Int128(_) | Token::Float(_) => 1,
        Token::ParenOpen | Token::BracketOpen | Token::BraceOpen => closing(tokens)?,
        _ => return None,
    };
    let own = length;
    while let Some((token, _)) = tokens.get(length) {
        length += match token {
            Token::Dot | Token::Pipe => 2,
            Token::ParenOpen | Token::BracketOpen => closing(&tokens[length..])?,
            _ => break,
        };
    }
    (length <= tokens.len()).then_some((length, length > own))
}

/// The number of tokens to the bracket that closes the first one.
fn closing(tokens: Tokens<'_, '_>) -> Option<usize> {
    let mut depth = 0_usize;
    for (index, (token, _)) in tokens.iter().enumerate() {
        match token {
            Token::ParenOpen | Token::BracketOpen | Token::BraceOpen => depth += 1,
            Token::ParenClose | Token::BracketClose | Token::BraceClose => {
                depth = depth.checked_sub(1)?;
                if depth == 0 {
                    return Some(index + 1);
                }
            }
            _ => {}
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn constructs_that_are_missing_are_rewritten() {
        for (source, expected) in [
            ("a\r\nb\rc{# d\r\n #}", "a\nb\nc{# d\n #}"),
            ("{%- generation -%} a {%+ endgeneration %}", "{%- filter ruminate_learned -%} a {%+ endfilter %}"),
            ("{{ '{% generation %}' }}{% raw %}{% generation %}{% endraw %}", ""),
            ("{% set a = b.c %}{% for a in b.c %}{% endfor %}", ""),
            ("{% set a.b = c == d -%}", "{% set a.b = ( c == d)|ruminate_stored -%}"),
            ("{% set a.b %}c{% endset %}", "{% set a.b|ruminate_stored %}c{% endset %}"),
            ("{% set a.b|trim(c=1) %}c{% endset %}", "{% set a.b|trim(c=1)|ruminate_stored %}c{% endset %}"),
            ("{{ '%s-%s' % (a, 'b') ~ c }}", "{{ '%s-%s' |format (a, 'b') ~ c }}"),
            ("{{ '%s' % a.b[0]|upper + 'c' }}", "{{ '%s' |format( a.b[0]|upper) + 'c' }}"),
            ("{{ '%s' % (a).b }}", "{{ '%s' |format( (a).b) }}"),
            ("{% set a.b = '%d' % c %}", "{% set a.b = ( '%d' |format( c))|ruminate_stored %}"),
            ("{{ 7 % 3 }}{{ a % 'b' }}{{ 'a' % }}{{ 'a' % ( }}", ""),
        ] {
            let expected = if expected.is_empty() { source } else { expected };
            let syntax = SyntaxConfig::builder().trim_blocks(true).lstrip_blocks(true).build().unwrap();
            assert_eq!(rewrite(source, &syntax).unwrap_or_else(|error| panic!("{error}")).source, expected);
        }
    }
}
