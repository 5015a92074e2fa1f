//! Tokens -> an expression, by precedence climbing with a bounded depth and a bounded number of nodes.
//! Knows the syntax of formulas, not their values.

use crate::functions::{Function, function, inverted, is_letter_command};
use crate::token::{Kind, Token};

/// Nesting beyond this is not parsed: the parser recurses.
const MAX_DEPTH: usize = 60;
/// Tokens beyond this are not parsed.
const MAX_TOKENS: usize = 20_000;

/// Index of a node in its [`Expression`].
pub(crate) type NodeId = usize;

#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Node {
    /// A decimal literal, as written: digits, fraction, exponent.
    Number(String),
    Pi,
    Euler,
    Imaginary,
    Infinity,
    /// A free or bound variable, by the digest of its name.
    Variable(u64),
    /// Terms, each with whether it is subtracted.
    Sum(Vec<(NodeId, bool)>),
    /// Factors, each with whether it divides.
    Product(Vec<(NodeId, bool)>),
    Power(NodeId, NodeId),
    /// The radicand and the index.
    Root(NodeId, u32),
    Factorial(NodeId),
    Call(Function, Vec<NodeId>),
    /// A sum (or product) of a body over an integer variable from one bound to the other.
    Series {
        product: bool,
        variable: u64,
        from: NodeId,
        to: NodeId,
        body: NodeId,
    },
}

#[derive(Debug, Default)]
pub(crate) struct Expression {
    pub(crate) nodes: Vec<Node>,
    pub(crate) root: NodeId,
}

/// Parses all of the tokens, or nothing. `plus_minus` is the sign that `\pm` stands for, where it may stand.
pub(crate) fn parse(tokens: &[Token], plus_minus: Option<bool>) -> Option<Expression> {
    if tokens.is_empty() || tokens.len() > MAX_TOKENS {
        return None;
    }
    let letters = crate::words::split(tokens)?;
    let mut parser =
        Parser { tokens: &letters, at: 0, depth: 0, bars: 0, bound: Vec::new(), plus_minus, nodes: Vec::new() };
    let root = parser.over()?;
    (parser.at == letters.len()).then_some(Expression { nodes: parser.nodes, root })
}

struct Parser<'tokens> {
    tokens: &'tokens [Token],
    at: usize,
    depth: usize,
    /// Open absolute values.
    bars: usize,
    /// Variables of the series around.
    bound: Vec<String>,
    plus_minus: Option<bool>,
    nodes: Vec<Node>,
}

impl Parser<'_> {
    fn peek(&self) -> Option<&Token> {
        self.tokens.get(self.at)
    }

    fn peek_symbol(&self, symbol: &str) -> bool {
        self.peek().is_some_and(|token| token.is_symbol(symbol))
    }

    fn peek_command(&self, name: &str) -> bool {
        self.peek().is_some_and(|token| token.is_command(name))
    }

    fn take_symbol(&mut self, symbol: &str) -> Option<()> {
        self.peek_symbol(symbol).then(|| self.at += 1)
    }

    fn add(&mut self, node: Node) -> NodeId {
        self.nodes.push(node);
        self.nodes.len() - 1
    }

    fn number(&mut self, text: &str) -> NodeId {
        self.add(Node::Number(text.to_string()))
    }

    fn call(&mut self, function: Function, arguments: Vec<NodeId>) -> NodeId {
        self.add(Node::Call(function, arguments))
    }

    /// A sign here: whether it is a minus.
    fn sign(&mut self) -> Option<bool> {
        let token = self.peek()?;
        let minus = match (token.kind, token.text.as_str()) {
            (Kind::Symbol, "+") => false,
            (Kind::Symbol, "-") => true,
            (Kind::Command, "pm") => self.plus_minus?,
            (Kind::Command, "mp") => !self.plus_minus?,
            _ => return None,
        };
        self.at += 1;
        Some(minus)
    }

    fn sum(&mut self) -> Option<NodeId> {
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            return None;
        }
        let mut terms = Vec::new();
        loop {
            let mut negative = false;
            let mut signs = 0;
            while let Some(minus) = self.sign() {
                negative ^= minus;
                signs += 1;
            }
            if !terms.is_empty() && signs == 0 {
                break;
            }
            terms.push((self.product()?, negative));
        }
        self.depth -= 1;
        match terms[..] {
            [(only, false)] => Some(only),
            _ => Some(self.add(Node::Sum(terms))),
        }
    }

    fn product(&mut self) -> Option<NodeId> {
        let mut factors = vec![(self.power()?, false)];
        loop {
            let divides = match self.peek() {
                Some(token) if token.is_symbol("*") => Some(false),
                Some(token) if token.is_symbol("/") => Some(true),
                _ => None,
            };
            if let Some(divides) = divides {
                self.at += 1;
                let mut negative = false;
                while let Some(minus) = self.sign() {
                    negative ^= minus;
                }
                let factor = self.power()?;
                let factor = if negative { self.add(Node::Sum(vec![(factor, true)])) } else { factor };
                factors.push((factor, divides));
            } else if self.starts_factor() {
                factors.push((self.power()?, false));
            } else {
                break;
            }
        }
        Some(if factors.len() == 1 { factors[0].0 } else { self.add(Node::Product(factors)) })
    }

    /// Whether a factor without an operator before it may start here.
    fn starts_factor(&self) -> bool {
        let Some(token) = self.peek() else { return false };
        match token.kind {
            // Two numbers side by side are no product.
            Kind::Number => !self.tokens.get(self.at.wrapping_sub(1)).is_some_and(|last| last.kind == Kind::Number),
            Kind::Word => true,
            Kind::Symbol => match token.text.as_str() {
                "(" | "{" | "[" => true,
                "|" => self.bars == 0,
                _ => false,
            },
            Kind::Command => {
                matches!(token.text.as_str(), "frac" | "sqrt" | "binom" | "lfloor" | "lceil" | "infty" | "sum" | "prod")
                    || function(&token.text).is_some()
                    || is_letter_command(&token.text)
            }
        }
    }

    fn power(&mut self) -> Option<NodeId> {
        let base = self.postfix()?;
        if self.take_symbol("^").is_none() {
            return Some(base);
        }
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            return None;
        }
        let exponent = self.exponent()?;
        self.depth -= 1;
        Some(self.add(Node::Power(base, exponent)))
    }

    fn exponent(&mut self) -> Option<NodeId> {
        let mut negative = false;
        while let Some(minus) = self.sign() {
            negative ^= minus;
        }
        let exponent = self.power()?;
        Some(if negative { self.add(Node::Sum(vec![(exponent, true)])) } else { exponent })
    }

    fn postfix(&mut self) -> Option<NodeId> {
        let mut value = self.primary()?;
        while let Some(token) = self.peek() {
            if token.is_symbol("!") {
                // `n!!` is another function.
                if self.tokens.get(self.at + 1).is_some_and(|next| next.is_symbol("!")) {
                    return None;
                }
                value = self.add(Node::Factorial(value));
            } else if token.is_command("degree") {
                let half_turn = self.number("180");
                let pi = self.add(Node::Pi);
                value = self.add(Node::Product(vec![(value, false), (pi, false), (half_turn, true)]));
            } else {
                break;
            }
            self.at += 1;
        }
        Some(value)
    }

    fn primary(&mut self) -> Option<NodeId> {
        let token = self.tokens.get(self.at)?;
        self.at += 1;
        match (token.kind, token.text.as_str()) {
            (Kind::Number, text) => self.number_or_mixed(text),
            (Kind::Symbol, "(") => self.closed_by(")"),
            (Kind::Symbol, "[") => self.closed_by("]"),
            (Kind::Symbol, "{") => self.group(),
            (Kind::Symbol, "|") => {
                self.bars += 1;
                let inside = self.sum()?;
                self.take_symbol("|")?;
                self.bars -= 1;
                Some(self.call(Function::Abs, vec![inside]))
            }
            (Kind::Word, text) => self.named(text),
            (Kind::Command, text) => self.command(text),
            _ => None,
        }
    }

    fn closed_by(&mut self, close: &str) -> Option<NodeId> {
        let bars = std::mem::take(&mut self.bars);
        let inside = self.sum()?;
        self.bars = bars;
        self.take_symbol(close)?;
        Some(inside)
    }

    fn group(&mut self) -> Option<NodeId> {
        let bars = std::mem::take(&mut self.bars);
        let inside = self.over()?;
        self.bars = bars;
        self.take_symbol("}")?;
        Some(inside)
    }

    /// What braces enclose, where `a \over b` and `n \choose k` may stand.
    fn over(&mut self) -> Option<NodeId> {
        let above = self.sum()?;
        let divides = self.peek_command("over");
        if !divides && !self.peek_command("choose") {
            return Some(above);
        }
        self.at += 1;
        let below = self.sum()?;
        Some(if divides {
            self.add(Node::Product(vec![(above, false), (below, true)]))
        } else {
            self.call(Function::Binomial, vec![above, below])
        })
    }

    /// A number, or a mixed number: `7\frac{3}{4}`, `7 3/4`.
    fn number_or_mixed(&mut self, text: &str) -> Option<NodeId> {
        let whole = self.number(text);
        if !text.bytes().all(|byte| byte.is_ascii_digit()) {
            return Some(whole);
        }
        let (above, below, length) = match self.tokens.get(self.at..)? {
            [frac, open, above, close, open_2, below, close_2, ..]
                if frac.is_command("frac")
                    && open.is_symbol("{")
                    && close.is_symbol("}")
                    && open_2.is_symbol("{")
                    && close_2.is_symbol("}") =>
            {
                (above, below, 7)
            }
            [above, slash, below, ..] if above.spaced && slash.is_symbol("/") => (above, below, 3),
            _ => return Some(whole),
        };
        if !(above.is_integer() && below.is_integer()) {
            return Some(whole);
        }
        let (above, below) = (self.number(&above.text), self.number(&below.text));
        self.at += length;
        let part = self.add(Node::Product(vec![(above, false), (below, true)]));
        Some(self.add(Node::Sum(vec![(whole, false), (part, false)])))
    }

    fn named(&mut self, text: &str) -> Option<NodeId> {
        let bound = self.bound.iter().any(|name| name == text);
        match text {
            "pi" => Some(self.add(Node::Pi)),
            "inf" | "infinity" | "oo" => Some(self.add(Node::Infinity)),
            "e" if !bound => Some(self.add(Node::Euler)),
            "i" if !bound => Some(self.add(Node::Imaginary)),
            "sqrt" => self.root(),
            _ => match function(text) {
                Some(function) => self.application(function),
                None => self.variable(text),
            },
        }
    }

    /// A letter with its subscript and primes. A number right after a letter is a subscript too: `x1`.
    fn variable(&mut self, letter: &str) -> Option<NodeId> {
        let mut name = letter.to_string();
        let next = self.peek().cloned();
        if next.as_ref().is_some_and(|token| token.is_integer() && !token.spaced) && letter != "i" {
            name.push('_');
            name.push_str(&next?.text);
            self.at += 1;
        } else if self.take_symbol("_").is_some() {
            name.push('_');
            if self.take_symbol("{").is_some() {
                while let Some(token) = self.peek().filter(|token| !token.is_symbol("}")) {
                    let part = token.text.clone();
                    name.push_str(&part);
                    self.at += 1;
                }
                self.take_symbol("}")?;
            } else {
                let subscript = self.peek()?.text.clone();
                name.push_str(&subscript);
                self.at += 1;
            }
        }
        while self.take_symbol("'").is_some() {
            name.push('\'');
        }
        Some(self.add(Node::Variable(digest(&name))))
    }

    fn command(&mut self, name: &str) -> Option<NodeId> {
        match name {
            "frac" => {
                let (above, below) = (self.argument()?, self.argument()?);
                Some(self.add(Node::Product(vec![(above, false), (below, true)])))
            }
            "binom" => {
                let (above, below) = (self.argument()?, self.argument()?);
                Some(self.call(Function::Binomial, vec![above, below]))
            }
            "sqrt" => self.root(),
            "pi" => Some(self.add(Node::Pi)),
            "infty" => Some(self.add(Node::Infinity)),
            "sum" | "prod" => self.series(name == "prod"),
            "lfloor" | "lceil" => {
                let (function, close) =
                    if name == "lfloor" { (Function::Floor, "rfloor") } else { (Function::Ceil, "rceil") };
                let inside = self.sum()?;
                self.peek_command(close).then(|| self.at += 1)?;
                Some(self.call(function, vec![inside]))
            }
            _ => match function(name) {
                Some(function) => self.application(function),
                None if is_letter_command(name) => self.variable(&format!("\\{name}")),
                None => None,
            },
        }
    }

    /// One argument of a command: a group, or the next number or name.
    fn argument(&mut self) -> Option<NodeId> {
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            return None;
        }
        let argument = self.primary();
        self.depth -= 1;
        argument
    }

    fn root(&mut self) -> Option<NodeId> {
        let mut index = 2;
        if self.peek_symbol("[") {
            let [_, number, close, ..] = self.tokens.get(self.at..)? else { return None };
            if !close.is_symbol("]") {
                return None;
            }
            index = number.text.parse().ok().filter(|index| (2..=1000).contains(index))?;
            self.at += 3;
        }
        let radicand = self.argument()?;
        Some(self.add(Node::Root(radicand, index)))
    }

    /// The argument of a function: a bracket, or the product up to the next operator or function.
    fn application(&mut self, function: Function) -> Option<NodeId> {
        let mut base = None;
        let mut power = None;
        for _ in 0..2 {
            if function == Function::Log && base.is_none() && self.take_symbol("_").is_some() {
                base = Some(self.argument()?);
            } else if power.is_none() && self.take_symbol("^").is_some() {
                self.depth += 1;
                if self.depth > MAX_DEPTH {
                    return None;
                }
                power = Some(self.exponent()?);
                self.depth -= 1;
            }
        }
        let mut arguments = self.arguments()?;
        if function == Function::Log {
            let base = base.unwrap_or_else(|| self.number("10"));
            arguments.insert(0, base);
        }
        let inverse = power.is_some_and(|power| self.is_minus_one(power));
        let function = if inverse { inverted(function)? } else { function };
        let value = self.call(function, arguments);
        match power {
            Some(power) if !inverse => Some(self.add(Node::Power(value, power))),
            _ => Some(value),
        }
    }

    fn arguments(&mut self) -> Option<Vec<NodeId>> {
        if self.take_symbol("(").is_some() {
            let bars = std::mem::take(&mut self.bars);
            let mut arguments = vec![self.sum()?];
            while self.take_symbol(",").is_some() {
                arguments.push(self.sum()?);
            }
            self.bars = bars;
            self.take_symbol(")")?;
            return Some(arguments);
        }
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            return None;
        }
        let mut factors = vec![(self.power()?, false)];
        while self.starts_factor() && self.peek().is_none_or(|token| function(&token.text).is_none()) {
            factors.push((self.power()?, false));
        }
        self.depth -= 1;
        Some(vec![if factors.len() == 1 { factors[0].0 } else { self.add(Node::Product(factors)) }])
    }

    fn is_minus_one(&self, id: NodeId) -> bool {
        let is_one = |id: &NodeId| matches!(self.nodes.get(*id), Some(Node::Number(text)) if text == "1");
        matches!(self.nodes.get(id), Some(Node::Sum(terms)) if matches!(terms[..], [(one, true)] if is_one(&one)))
    }

    /// `_{k=a}^{b} body`, the body being one product.
    fn series(&mut self, product: bool) -> Option<NodeId> {
        self.take_symbol("_")?;
        self.take_symbol("{")?;
        let name = self.peek().filter(|token| token.kind == Kind::Word)?.text.clone();
        self.at += 1;
        self.take_symbol("=")?;
        let from = self.sum()?;
        self.take_symbol("}")?;
        self.take_symbol("^")?;
        let to = self.argument()?;
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            return None;
        }
        self.bound.push(name.clone());
        let body = self.product()?;
        self.bound.pop();
        self.depth -= 1;
        Some(self.add(Node::Series { product, variable: digest(&name), from, to, body }))
    }
}

/// FNV-1a, which is enough to tell names apart.
fn digest(name: &str) -> u64 {
    name.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}
