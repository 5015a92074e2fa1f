//! Tokens -> an expression, by precedence climbing with a bounded depth and a bounded number of nodes.
//! Knows the syntax of formulas, not their values.

use crate::characters::lower;
use crate::expression::{Expression, Node, NodeId};
use crate::functions::Function;
use crate::names::Name;
use crate::token::{Kind, Token, Tokens};

/// Nesting beyond this is not parsed: the parser recurses.
const MAX_DEPTH: usize = 60;
/// Tokens beyond this are not parsed.
const MAX_TOKENS: usize = 20_000;

/// Parses all of the tokens, or nothing.
pub(crate) fn parse(tokens: Tokens<'_>) -> Option<Expression> {
    if tokens.is_empty() || tokens.len() > MAX_TOKENS {
        return None;
    }
    let letters = crate::words::split(tokens)?;
    let both_cases = uses_both_cases(&letters);
    let mut parser =
        Parser { tokens: &letters, at: 0, depth: 0, bars: 0, both_cases, bound: Vec::new(), nodes: Vec::new() };
    let root = parser.over()?;
    (parser.at == letters.len()).then_some(Expression { nodes: parser.nodes, root })
}

/// Whether one letter stands in both cases, so that case tells variables apart.
fn uses_both_cases(tokens: Tokens<'_>) -> bool {
    let (mut small, mut capital) = (0u32, 0u32);
    for letter in tokens.iter().filter_map(Token::letter) {
        let bit = 1 << (letter & 31);
        if letter.is_ascii_lowercase() { small |= bit } else { capital |= bit }
    }
    small & capital != 0
}

struct Parser<'a> {
    tokens: Tokens<'a>,
    at: usize,
    depth: usize,
    /// Open absolute values.
    bars: usize,
    both_cases: bool,
    /// Variables of the series around.
    bound: Vec<u64>,
    nodes: Vec<Node>,
}

impl<'a> Parser<'a> {
    fn peek(&self) -> Name {
        self.tokens.get(self.at).map_or(Name::None, |token| token.name)
    }

    fn token(&self) -> Option<&'a Token<'a>> {
        self.tokens.get(self.at)
    }

    fn take(&mut self, name: Name) -> Option<()> {
        if self.peek() != name {
            return None;
        }
        self.at += 1;
        Some(())
    }

    fn add(&mut self, node: Node) -> NodeId {
        self.nodes.push(node);
        self.nodes.len() - 1
    }

    fn decimal(&mut self, text: &str) -> NodeId {
        self.add(Node::Number(text.into()))
    }

    fn number(&mut self, token: &Token<'_>) -> NodeId {
        let mut digits = String::with_capacity(token.text.len());
        token.digits().for_each(|digit| digits.push(char::from(digit)));
        self.add(Node::Number(digits))
    }

    fn quotient(&mut self, above: NodeId, below: NodeId) -> NodeId {
        self.add(Node::Product(vec![(above, false), (below, true)]))
    }

    fn negated(&mut self, id: NodeId, negative: bool) -> NodeId {
        if negative { self.add(Node::Sum(vec![(id, true)])) } else { id }
    }

    /// Parses deeper, where the limit allows it.
    fn deeper(&mut self, parse: fn(&mut Self) -> Option<NodeId>) -> Option<NodeId> {
        if self.depth >= MAX_DEPTH {
            return None;
        }
        self.depth += 1;
        let parsed = parse(self);
        self.depth -= 1;
        parsed
    }

    /// Parses what a bracket encloses, up to its closing one. Bars around the bracket do not end in it.
    fn enclosed(&mut self, parse: fn(&mut Self) -> Option<NodeId>, close: Name) -> Option<NodeId> {
        let bars = std::mem::take(&mut self.bars);
        let inside = parse(self)?;
        self.bars = bars;
        self.take(close)?;
        Some(inside)
    }

    /// The signs here: how many, and whether they make a minus.
    fn signs(&mut self) -> (usize, bool) {
        let (mut count, mut negative) = (0, false);
        while matches!(self.peek(), Name::Plus | Name::Minus) {
            negative ^= self.peek() == Name::Minus;
            count += 1;
            self.at += 1;
        }
        (count, negative)
    }

    fn sum(&mut self) -> Option<NodeId> {
        self.deeper(Self::terms)
    }

    fn terms(&mut self) -> Option<NodeId> {
        let mut terms = Vec::new();
        loop {
            let (signs, negative) = self.signs();
            if !terms.is_empty() && signs == 0 {
                break;
            }
            terms.push((self.product()?, negative));
        }
        Some(match terms[..] {
            [(only, false)] => only,
            _ => self.add(Node::Sum(terms)),
        })
    }

    fn product(&mut self) -> Option<NodeId> {
        let first = self.power()?;
        let mut factors = vec![(first, false)];
        loop {
            match self.peek() {
                Name::Times | Name::Slash => {
                    let divides = self.peek() == Name::Slash;
                    self.at += 1;
                    let factor = self.exponent()?;
                    factors.push((factor, divides));
                }
                _ if self.starts_factor() => factors.push((self.power()?, false)),
                _ => break,
            }
        }
        Some(if factors.len() == 1 { first } else { self.add(Node::Product(factors)) })
    }

    /// Whether a factor without an operator before it may start here.
    fn starts_factor(&self) -> bool {
        let Some(token) = self.token() else { return false };
        match token.name {
            Name::Open
            | Name::OpenGroup
            | Name::OpenSquare
            | Name::Frac
            | Name::Sqrt
            | Name::Binom
            | Name::OpenFloor => true,
            Name::OpenCeil | Name::Infinity | Name::Sum | Name::Prod | Name::Pi | Name::Letter => true,
            Name::Bar => self.bars == 0,
            name if name.function().is_some() => true,
            _ => match token.kind {
                // Two numbers side by side are no product.
                Kind::Number => !self.tokens.get(self.at.wrapping_sub(1)).is_some_and(Token::is_number),
                Kind::Word => token.name != Name::Degree,
                _ => false,
            },
        }
    }

    fn power(&mut self) -> Option<NodeId> {
        let base = self.postfix()?;
        if self.take(Name::Power).is_none() {
            return Some(base);
        }
        let exponent = self.deeper(Self::exponent)?;
        Some(self.add(Node::Power(base, exponent)))
    }

    /// A power with signs before it.
    fn exponent(&mut self) -> Option<NodeId> {
        let (_, negative) = self.signs();
        let exponent = self.power()?;
        Some(self.negated(exponent, negative))
    }

    fn postfix(&mut self) -> Option<NodeId> {
        let mut value = self.primary()?;
        loop {
            match self.peek() {
                // `n!!` is another function.
                Name::Bang if self.tokens.get(self.at + 1).is_some_and(|next| next.name == Name::Bang) => return None,
                Name::Bang => value = self.add(Node::Factorial(value)),
                Name::Degree => {
                    let (half_turn, pi) = (self.decimal("180"), self.add(Node::Pi));
                    value = self.add(Node::Product(vec![(value, false), (pi, false), (half_turn, true)]));
                }
                _ => return Some(value),
            }
            self.at += 1;
        }
    }

    fn primary(&mut self) -> Option<NodeId> {
        let token = self.token()?;
        self.at += 1;
        match token.name {
            _ if token.is_number() => Some(self.recurring(token).unwrap_or_else(|| self.number_or_mixed(token))),
            Name::Open => self.enclosed(Self::sum, Name::Close),
            Name::OpenSquare => self.enclosed(Self::sum, Name::CloseSquare),
            Name::OpenGroup => self.enclosed(Self::over, Name::CloseGroup),
            Name::Bar => {
                self.bars += 1;
                let inside = self.sum()?;
                self.take(Name::Bar)?;
                self.bars -= 1;
                Some(self.add(Node::Call(Function::Abs, vec![inside])))
            }
            Name::OpenFloor => self.rounded(Function::Floor, Name::CloseFloor),
            Name::OpenCeil => self.rounded(Function::Ceil, Name::CloseCeil),
            Name::Frac | Name::Binom => {
                let (above, below) = (self.deeper(Self::primary)?, self.deeper(Self::primary)?);
                Some(match token.name {
                    Name::Frac => self.quotient(above, below),
                    _ => self.add(Node::Call(Function::Binomial, vec![above, below])),
                })
            }
            Name::Sqrt => self.root(),
            Name::Pi => Some(self.add(Node::Pi)),
            Name::Infinity => Some(self.add(Node::Infinity)),
            Name::Sum | Name::Prod => self.series(token.name == Name::Prod),
            name if name.function().is_some() => self.application(name.function()?),
            Name::Letter => self.variable(token),
            _ if token.kind == Kind::Word => self.variable(token),
            _ => None,
        }
    }

    fn rounded(&mut self, function: Function, close: Name) -> Option<NodeId> {
        let inside = self.enclosed(Self::sum, close)?;
        Some(self.add(Node::Call(function, vec![inside])))
    }

    /// A sum, or what braces enclose, where `a \over b` and `n \choose k` may stand.
    fn over(&mut self) -> Option<NodeId> {
        let above = self.sum()?;
        let name = self.peek();
        if !matches!(name, Name::Over | Name::Choose) {
            return Some(above);
        }
        self.at += 1;
        let below = self.sum()?;
        Some(match name {
            Name::Over => self.quotient(above, below),
            _ => self.add(Node::Call(Function::Binomial, vec![above, below])),
        })
    }

    /// A decimal whose last digits recur: `0.1\\overline{6}`, `0.\\dot{3}`.
    fn recurring(&mut self, token: &Token<'_>) -> Option<NodeId> {
        let rest = self.tokens.get(self.at..)?;
        let point = rest.first()?.name == Name::Dot;
        let [mark, open, digits, close, ..] = rest.get(usize::from(point)..)? else { return None };
        let braces = open.name == Name::OpenGroup && close.name == Name::CloseGroup;
        let whole = token.is_integer();
        if mark.name != Name::Mark || !braces || !digits.is_integer() || whole != point || digits.text.len() > 30 {
            return None;
        }
        self.at += 4 + usize::from(point);
        let places = token.text.bytes().rev().take_while(|byte| *byte != b'.').count();
        let zeros = if point { 0 } else { places };
        let start = self.number(token);
        let digits_of = self.number(digits);
        let nines = "9".repeat(digits.text.len()) + &"0".repeat(zeros);
        let nines = self.decimal(&nines);
        let tail = self.quotient(digits_of, nines);
        Some(self.add(Node::Sum(vec![(start, false), (tail, false)])))
    }

    /// A number, or a mixed number: `7\frac{3}{4}`, `7 3/4`.
    fn number_or_mixed(&mut self, token: &Token<'_>) -> NodeId {
        let whole = self.number(token);
        let rest = self.tokens.get(self.at..).unwrap_or_default();
        let (above, below, length) = match rest {
            [frac, open, above, _, _, below, close, ..]
                if frac.name == Name::Frac && open.name == Name::OpenGroup && close.name == Name::CloseGroup =>
            {
                (above, below, 7)
            }
            [above, slash, below, ..] if above.spaced && slash.name == Name::Slash => (above, below, 3),
            _ => return whole,
        };
        if !(token.is_integer() && above.is_integer() && below.is_integer()) {
            return whole;
        }
        let (above, below) = (self.number(above), self.number(below));
        self.at += length;
        let part = self.quotient(above, below);
        self.add(Node::Sum(vec![(whole, false), (part, false)]))
    }

    /// A letter with its subscript and primes. A number right after a letter is a subscript too: `x1`.
    fn variable(&mut self, token: &Token<'_>) -> Option<NodeId> {
        let mut name =
            hash(START, token.text.chars().map(|letter| if self.both_cases { letter } else { lower(letter) }));
        let letter = if self.both_cases { token.text } else { lowercase_constant(token.text) };
        if matches!(letter, "e" | "i") && !self.bound.contains(&name) && self.peek() != Name::Under {
            return Some(self.add(if letter == "e" { Node::Euler } else { Node::Imaginary }));
        }
        let next = self.token().filter(|next| next.is_integer() && !next.spaced);
        if let Some(next) = next.filter(|_| token.kind == Kind::Word) {
            name = hash(name, next.text.chars());
            self.at += 1;
        } else if self.take(Name::Under).is_some() {
            let braced = self.take(Name::OpenGroup).is_some();
            loop {
                name = hash(name, self.token()?.text.chars());
                self.at += 1;
                if !braced || self.take(Name::CloseGroup).is_some() {
                    break;
                }
            }
        }
        while self.take(Name::Prime).is_some() {
            name = hash(name, "'".chars());
        }
        Some(self.add(Node::Variable(name)))
    }

    fn root(&mut self) -> Option<NodeId> {
        let mut index = 2;
        if self.take(Name::OpenSquare).is_some() {
            let number = self.token().filter(|token| token.is_integer() && token.text.len() <= 3)?;
            index = number.digits().fold(0, |index, digit| 10 * index + u32::from(digit - b'0'));
            if index < 2 {
                return None;
            }
            self.at += 1;
            self.take(Name::CloseSquare)?;
        }
        let radicand = self.deeper(Self::primary)?;
        Some(self.add(Node::Root(radicand, index)))
    }

    /// The argument of a function: a bracket, or the product up to the next operator or function.
    fn application(&mut self, function: Function) -> Option<NodeId> {
        let (mut base, mut power) = (None, None);
        for _ in 0..2 {
            if function == Function::Log && base.is_none() && self.take(Name::Under).is_some() {
                base = Some(self.deeper(Self::primary)?);
            } else if power.is_none() && self.take(Name::Power).is_some() {
                power = Some(self.deeper(Self::exponent)?);
            }
        }
        let mut arguments = Vec::new();
        if function == Function::Log {
            arguments.push(base.unwrap_or_else(|| self.decimal("10")));
        }
        if self.take(Name::Open).is_some() {
            let bars = std::mem::take(&mut self.bars);
            loop {
                arguments.push(self.sum()?);
                if self.take(Name::Comma).is_none() {
                    break;
                }
            }
            self.bars = bars;
            self.take(Name::Close)?;
        } else {
            arguments.push(self.deeper(Self::factors)?);
        }
        let inverse = power.is_some_and(|power| self.is_minus_one(power));
        let function = if inverse { function.inverted()? } else { function };
        let value = self.add(Node::Call(function, arguments));
        Some(match power {
            Some(power) if !inverse => self.add(Node::Power(value, power)),
            _ => value,
        })
    }

    /// Factors side by side, up to the next function.
    fn factors(&mut self) -> Option<NodeId> {
        let first = self.power()?;
        let mut factors = vec![(first, false)];
        while self.starts_factor() && self.peek().function().is_none() {
            factors.push((self.power()?, false));
        }
        Some(if factors.len() == 1 { first } else { self.add(Node::Product(factors)) })
    }

    fn is_minus_one(&self, id: NodeId) -> bool {
        let Some(Node::Sum(terms)) = self.nodes.get(id) else { return false };
        let [(one, true)] = terms[..] else { return false };
        matches!(self.nodes.get(one), Some(Node::Number(text)) if text == "1")
    }

    /// `_{k=a}^{b} body`, the body being one product.
    fn series(&mut self, product: bool) -> Option<NodeId> {
        self.take(Name::Under)?;
        self.take(Name::OpenGroup)?;
        let letter = self.token().filter(|token| token.kind == Kind::Word)?;
        let variable =
            hash(START, letter.text.chars().map(|letter| if self.both_cases { letter } else { lower(letter) }));
        self.at += 1;
        self.take(Name::Equals)?;
        let from = self.enclosed(Self::sum, Name::CloseGroup)?;
        self.take(Name::Power)?;
        let to = self.deeper(Self::primary)?;
        self.bound.push(variable);
        let body = self.deeper(Self::product)?;
        self.bound.pop();
        Some(self.add(Node::Series { product, variable, from, to, body }))
    }
}

fn lowercase_constant(letter: &str) -> &str {
    match letter {
        "E" => "e",
        "I" => "i",
        _ => letter,
    }
}

const START: u64 = 0xcbf2_9ce4_8422_2325;

/// FNV-1a, which is enough to tell names apart.
fn hash(start: u64, name: impl Iterator<Item = char>) -> u64 {
    name.fold(start, |hash, letter| (hash ^ u64::from(letter)).wrapping_mul(0x0100_0000_01b3))
}
