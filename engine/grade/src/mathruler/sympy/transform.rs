//! sympy's transformations of tokens: symbols and numbers become calls, `!` a function, names split into letters,
//! multiplication and application appear where they are meant. In the order and with the slips of `sympy_parser.py`
//! (sympy 1.14, BSD), for the names that a text of at most two letters can hold.

use super::Stop;
use super::tokens::{Kind, Token};

/// The names that sympy and Python define as functions.
const FUNCTIONS: [&str; 28] = [
    "all",
    "csc",
    "eye",
    "ff",
    "fft",
    "frac",
    "fu",
    "gff",
    "hn1",
    "hn2",
    "id",
    "im",
    "jn",
    "li",
    "ln",
    "ntt",
    "re",
    "rf",
    "sqrt",
    "yn",
    "Symbol",
    "Function",
    "Integer",
    "Float",
    "Number",
    "Rational",
    "factorial",
    "factorial2",
];
const CONSTANTS: [&str; 4] = ["nan", "oo", "pi", "zoo"];
const KEYWORDS: [&str; 10] = ["as", "if", "in", "is", "or", "and", "def", "del", "not", "else"];
/// Tokens of one text.
const MAX_TOKENS: usize = 30_000;
/// Tokens that all steps together may look at.
const MAX_WORK: usize = 200_000;

/// A token, brackets with what is in them, or a function with its brackets.
enum Item {
    Token(Token),
    Group(Vec<Token>),
    Applied(Token, Vec<Token>),
}

impl Item {
    fn token(&self) -> Option<&Token> {
        match self {
            Item::Token(token) => Some(token),
            _ => None,
        }
    }

    fn is(&self, operator: &str) -> bool {
        self.token().is_some_and(|token| token.is(operator))
    }

    fn is_name(&self) -> bool {
        self.token().is_some_and(|token| token.kind == Kind::Name)
    }

    fn is_function(&self) -> bool {
        self.token().is_some_and(is_function)
    }
}

fn is_function(token: &Token) -> bool {
    token.kind == Kind::Name && FUNCTIONS.contains(&&*token.text)
}

/// The tokens that Python evaluates.
pub(super) fn transform(tokens: Vec<Token>) -> Result<Vec<Token>, Stop> {
    let tokens = factorials(numbers(repeated_decimals(symbols(tokens))))?;
    let tokens = split_symbols(tokens);
    if tokens.len() > MAX_TOKENS {
        return Err(Stop::Budget);
    }
    let mut work = MAX_WORK;
    let tokens = implicit(tokens, multiplied, &mut work)?;
    let tokens = implicit(tokens, applied, &mut work)?;
    Ok(exponentiated(tokens))
}

fn call(tokens: &mut Vec<Token>, function: &'static str, kind: Kind, argument: &str) {
    tokens.extend([Token::name(function), Token::operator("("), Token::new(kind, argument), Token::operator(")")]);
}

fn symbols(tokens: Vec<Token>) -> Vec<Token> {
    let mut result = Vec::with_capacity(tokens.len() * 4);
    for (at, token) in tokens.iter().enumerate() {
        let name = &*token.text;
        let known = |name: &str| FUNCTIONS.contains(&name) || CONSTANTS.contains(&name) || KEYWORDS.contains(&name);
        let attribute = at > 0 && tokens[at - 1].is(".");
        if token.kind != Kind::Name || attribute || known(name) {
            result.push(token.clone());
            continue;
        }
        let next_opens = tokens.get(at + 1).is_some_and(|next| &*next.text == "(");
        call(&mut result, if next_opens { "Function" } else { "Symbol" }, Kind::Name, &format!("'{name}'"));
    }
    result
}

/// `0.2[1]` is 0.2111...
fn repeated_decimals(tokens: Vec<Token>) -> Vec<Token> {
    let is_digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'_');
    let mut result: Vec<Token> = Vec::with_capacity(tokens.len());
    let mut found: Vec<Token> = Vec::new();
    for token in tokens {
        let text = &*token.text;
        match token.kind {
            Kind::Number => {
                let decimal = text.contains('.') && !text.contains(['e', 'E', 'j', 'J']);
                let digits = is_digits(text)
                    && (found.len() == 2 || found.len() == 3 && found.last().is_some_and(|last| is_digits(&last.text)));
                if found.is_empty() && decimal || digits {
                    found.push(token.clone());
                } else {
                    found.clear();
                }
            }
            Kind::Operator => match (text, found.len()) {
                ("[", 1) => found.push(token.clone()),
                ("]", 3..) => found.push(token.clone()),
                (".", 0) => found.push(Token::new(Kind::Number, "0.")),
                _ => found.clear(),
            },
            _ => found.clear(),
        }
        let closed = token.is("]");
        result.push(token);
        if closed && found.len() >= 4 {
            result.truncate(result.len() - found.len());
            repeat(&mut result, &found);
            found.clear();
        }
    }
    result
}

fn repeat(result: &mut Vec<Token>, found: &[Token]) {
    let plain = |text: &str| text.replace('_', "");
    let (before, after) = found[0].text.split_once('.').unwrap_or_default();
    let (before, after) = (plain(before), plain(after));
    let repeated: String = found[2..found.len() - 1].iter().map(|token| plain(&token.text)).collect();
    let or_zero = |text: &str| if text.is_empty() { "0".to_owned() } else { text.to_owned() };
    let zeros = "0".repeat(after.len());
    result.extend([Token::operator("("), Token::name("Integer"), Token::operator("(")]);
    result.push(Token::new(Kind::Number, &or_zero(&before)));
    result.push(Token::operator(")"));
    // A period of zeros leaves nothing of the numerator, which Python refuses; so does the evaluation.
    let fractions = [
        (or_zero(after.trim_start_matches('0')), format!("1{zeros}")),
        (repeated.trim_start_matches('0').to_owned(), format!("{}{zeros}", "9".repeat(repeated.len()))),
    ];
    for (above, below) in fractions {
        result.extend([Token::operator("+"), Token::name("Rational"), Token::operator("(")]);
        result.push(Token::new(Kind::Number, &above));
        result.push(Token::operator(","));
        result.push(Token::new(Kind::Number, &below));
        result.push(Token::operator(")"));
    }
    result.push(Token::operator(")"));
}

fn numbers(tokens: Vec<Token>) -> Vec<Token> {
    let mut result = Vec::with_capacity(tokens.len() * 2);
    for token in tokens {
        if token.kind != Kind::Number {
            result.push(token);
            continue;
        }
        let (number, imaginary) = match token.text.strip_suffix(['j', 'J']) {
            Some(number) => (number, true),
            None => (&*token.text, false),
        };
        let hexadecimal = number.starts_with("0x") || number.starts_with("0X");
        if number.contains('.') || (number.contains(['e', 'E']) && !hexadecimal) {
            call(&mut result, "Float", Kind::Number, &format!("'{number}'"));
        } else {
            call(&mut result, "Integer", Kind::Number, number);
        }
        if imaginary {
            result.extend([Token::operator("*"), Token::name("I")]);
        }
    }
    result
}

fn factorials(tokens: Vec<Token>) -> Result<Vec<Token>, Stop> {
    let mut result: Vec<Token> = Vec::with_capacity(tokens.len());
    let mut count = 0;
    for token in tokens {
        match token.kind {
            Kind::Error if &*token.text == "!" => count += 1,
            // Anything else that is no token stays one.
            Kind::Error => return Err(Stop::Fails),
            _ => {
                match count {
                    0 => {}
                    1 => wrap(&mut result, "factorial")?,
                    2 => wrap(&mut result, "factorial2")?,
                    _ => return Err(Stop::Fails),
                }
                count = 0;
                result.push(token);
            }
        }
    }
    Ok(result)
}

/// The last operand becomes the argument of a function.
fn wrap(result: &mut Vec<Token>, function: &'static str) -> Result<(), Stop> {
    if result.last().is_none_or(|last| &*last.text == "(") {
        return Err(Stop::Fails);
    }
    let mut open = 0i32;
    for at in (0..result.len()).rev() {
        match &*result[at].text {
            ")" => open += 1,
            "(" => open -= 1,
            _ => {}
        }
        if open == 0 {
            let named = at > 0 && result[at - 1].kind == Kind::Name;
            let at = if named { at - 1 } else { at };
            result.splice(at..at, [Token::name(function), Token::operator("(")]);
            result.push(Token::operator(")"));
            return Ok(());
        }
    }
    Ok(())
}

/// `xy2` is `x*y*2`, but Greek letters stay whole.
fn split_symbols(tokens: Vec<Token>) -> Vec<Token> {
    let mut result: Vec<Token> = Vec::with_capacity(tokens.len());
    let (mut split, mut skip) = (false, false);
    for token in tokens {
        if skip {
            skip = false;
            continue;
        }
        if token.kind == Kind::Name && matches!(&*token.text, "Symbol" | "Function") {
            split = true;
        } else if split && token.kind == Kind::Name {
            split = false;
            let name = token.text.trim_matches('\'');
            if name.chars().count() > 1 && !name.contains('_') && !is_greek(name) {
                result.truncate(result.len().saturating_sub(2));
                letters(&mut result, name);
                skip = true;
                continue;
            }
        }
        result.push(token);
    }
    result
}

/// Greek letters named with at most two letters.
fn is_greek(name: &str) -> bool {
    matches!(name, "mu" | "nu" | "xi" | "pi")
}

fn letters(result: &mut Vec<Token>, name: &str) {
    let mut rest = name;
    while let Some(first) = rest.chars().next() {
        let length = match rest.find(|character: char| !character.is_ascii_digit()) {
            _ if !first.is_ascii_digit() => first.len_utf8(),
            found => found.unwrap_or(rest.len()),
        };
        // Digits of other scripts are numbers too, which sympy then cannot read.
        let function = if first.is_numeric() { "Number" } else { "Symbol" };
        call(result, function, Kind::Name, &format!("'{}'", &rest[..length]));
        rest = &rest[length..];
    }
}

type Step = fn(Vec<Item>) -> Vec<Item>;

/// A step in brackets first, then outside of them.
fn implicit(tokens: Vec<Token>, step: Step, work: &mut usize) -> Result<Vec<Token>, Stop> {
    *work = work.checked_sub(tokens.len()).ok_or(Stop::Budget)?;
    let mut items = Vec::with_capacity(tokens.len());
    let mut open: Vec<usize> = Vec::new();
    let mut held: Vec<Token> = Vec::new();
    for token in tokens {
        if token.is("(") {
            open.push(held.len());
            held.push(token);
        } else if token.is(")") {
            open.pop().ok_or(Stop::Fails)?;
            held.push(token);
            if open.is_empty() {
                let mut group = std::mem::take(&mut held);
                let (first, last) = (group.remove(0), group.pop());
                let mut inside = vec![first];
                inside.extend(implicit(group, step, work)?);
                inside.extend(last);
                items.push(Item::Group(inside));
            }
        } else if open.is_empty() {
            items.push(Item::Token(token));
        } else {
            held.push(token);
        }
    }
    if !open.is_empty() {
        return Err(Stop::Fails);
    }
    let mut flat = Vec::with_capacity(items.len());
    for item in step(with_functions(items)) {
        match item {
            Item::Token(token) => flat.push(token),
            Item::Group(tokens) => flat.extend(tokens),
            Item::Applied(function, tokens) => {
                flat.push(function);
                flat.extend(tokens);
            }
        }
    }
    Ok(flat)
}

/// Joins functions and their brackets; other brackets open again.
fn with_functions(items: Vec<Item>) -> Vec<Item> {
    let mut result: Vec<Item> = Vec::with_capacity(items.len());
    let mut symbol: Option<Token> = None;
    for item in items {
        match item {
            Item::Group(tokens) => match symbol.take_if(|symbol| is_function(symbol)) {
                Some(function) => {
                    result.pop();
                    result.push(Item::Applied(function, tokens));
                }
                None => result.extend(tokens.into_iter().map(Item::Token)),
            },
            other => {
                symbol = other.token().filter(|token| token.kind == Kind::Name).cloned();
                result.push(other);
            }
        }
    }
    result
}

fn multiplied(items: Vec<Item>) -> Vec<Item> {
    let mut result: Vec<Item> = Vec::with_capacity(items.len() * 2);
    let mut skip = false;
    let mut items = items.into_iter().peekable();
    while let Some(mut item) = items.next() {
        let Some(next) = items.peek() else {
            result.push(item);
            break;
        };
        if skip || (item.is(".") && next.is_name()) {
            skip = !skip;
            result.push(item);
            continue;
        }
        let starts = matches!(next, Item::Applied(..)) || next.is("(") || next.is_name();
        let ends = match &mut item {
            Item::Applied(function, _) => {
                if next.is("(") && &*function.text == "Function" {
                    *function = Token::name("Symbol");
                }
                true
            }
            _ => item.is(")") || (item.is_name() && !item.is_function()),
        };
        result.push(item);
        if starts && ends {
            result.push(Item::Token(Token::operator("*")));
        }
    }
    result
}

fn applied(items: Vec<Item>) -> Vec<Item> {
    let mut result: Vec<Item> = Vec::with_capacity(items.len() * 2);
    let (mut open, mut skip, mut after_power) = (0usize, false, false);
    let operator = |text: &'static str| Item::Token(Token::operator(text));
    let mut items = items.into_iter().peekable();
    while let Some(item) = items.next() {
        let Some(next) = items.peek() else {
            result.push(item);
            break;
        };
        let next_ends = next.token().is_some_and(|next| matches!(next.kind, Kind::Operator | Kind::End));
        let (is_name, is_function) = (item.is_name(), item.is_function());
        let ends_power = matches!(item, Item::Applied(..)) || item.is("*");
        result.push(item);
        if is_name && !next_ends {
            if is_function {
                result.push(operator("("));
                open += 1;
            }
        } else if is_name && next.is("**") {
            after_power |= is_function;
        } else if after_power {
            if ends_power && !next.is("*") {
                if !next.is("(") {
                    result.push(operator("("));
                    open += 1;
                }
                after_power = false;
            }
        } else if open > 0 {
            if next.is("**") || next.is("*") {
                skip = true;
                continue;
            }
            if std::mem::take(&mut skip) {
                continue;
            }
            result.push(operator(")"));
            open -= 1;
        }
    }
    result.extend((0..open).map(|_| operator(")")));
    result
}

/// `sqrt**2(x)` is `sqrt(x)**2`.
fn exponentiated(tokens: Vec<Token>) -> Vec<Token> {
    let mut result: Vec<Token> = Vec::with_capacity(tokens.len());
    let mut exponent: Vec<Token> = Vec::new();
    let (mut consuming, mut level) = (false, 0i32);
    for (at, token) in tokens.iter().enumerate() {
        let Some(next) = tokens.get(at + 1) else {
            result.push(token.clone());
            break;
        };
        if token.kind == Kind::Name && next.is("**") {
            consuming |= is_function(token);
        } else if consuming {
            let is_name = token.kind == Kind::Name && &*token.text == "Function";
            exponent.push(if is_name { Token::name("Symbol") } else { token.clone() });
            if token.is(")") && next.is("(") {
                consuming = false;
            }
            if token.is("*") && next.is("(") {
                consuming = false;
                exponent.pop();
            }
            continue;
        } else if !exponent.is_empty() {
            if token.is("(") {
                level += 1;
            } else if token.is(")") {
                level -= 1;
            }
            if level == 0 {
                result.push(token.clone());
                result.append(&mut exponent);
                continue;
            }
        }
        result.push(token.clone());
    }
    result.append(&mut exponent);
    result
}
