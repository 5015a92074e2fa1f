//! Python's evaluation of the transformed tokens, where it gives an expression. Everything that would raise, or give what
//! is no number, fails: tuples, texts, comparisons but for `==` and `!=`, attributes.

use num_bigint::BigInt;
use num_rational::BigRational;
use num_traits::ToPrimitive;

use super::Stop;
use super::node::Node;
use super::number::{Float, Number};
use super::tokens::{Kind, MAX_NESTING, Token};

/// The value of the tokens.
pub(super) fn evaluate(tokens: &[Token]) -> Result<Node, Stop> {
    let tokens = tokens.iter().filter(|token| !matches!(token.kind, Kind::Break | Kind::End)).collect();
    let mut evaluation = Evaluation { tokens, at: 0, nesting: 0, operations: MAX_OPERATIONS, work: MAX_WORK };
    let value = evaluation.comparison()?;
    if evaluation.at < evaluation.tokens.len() {
        return Err(Stop::Fails);
    }
    value.expression()
}

/// Operations in one expression: a longer chain is too deep for Python.
const MAX_OPERATIONS: u32 = 2_960;
/// Terms and, squared, words of numbers that all results together may have.
const MAX_WORK: u64 = 15_000;

enum Value {
    Expression(Node),
    /// A function by its name alone, which no operation takes.
    Function,
}

impl Value {
    fn expression(self) -> Result<Node, Stop> {
        match self {
            Value::Expression(node) => Ok(node),
            Value::Function => Err(Stop::Fails),
        }
    }
}

struct Evaluation<'tokens> {
    tokens: Vec<&'tokens Token>,
    at: usize,
    nesting: usize,
    operations: u32,
    work: u64,
}

impl Evaluation<'_> {
    fn take(&mut self, operator: &str) -> bool {
        let found = self.tokens.get(self.at).is_some_and(|token| token.is(operator));
        self.at += usize::from(found);
        found
    }

    fn expect(&mut self, operator: &str) -> Result<(), Stop> {
        if self.take(operator) { Ok(()) } else { Err(Stop::Fails) }
    }

    fn operation(&mut self) -> Result<(), Stop> {
        self.operations = self.operations.checked_sub(1).ok_or(Stop::Fails)?;
        Ok(())
    }

    fn done(&mut self, node: Node) -> Result<Node, Stop> {
        self.work = self.work.checked_sub(node.weight()).ok_or(Stop::Budget)?;
        Ok(node)
    }

    /// `==` compares structure and gives one of Python's integers.
    fn comparison(&mut self) -> Result<Value, Stop> {
        let left = self.bits(0)?;
        let equal = match () {
            () if self.take("==") => true,
            () if self.take("!=") => false,
            () => return Ok(left),
        };
        let (left, right) = (left.expression()?, self.bits(0)?.expression()?);
        Ok(Value::Expression(Node::integer(i64::from((left == right) == equal))))
    }

    /// `|`, `&` and shifts, in this order of precedence, of integers.
    fn bits(&mut self, level: usize) -> Result<Value, Stop> {
        const LEVELS: [&[&str]; 3] = [&["|"], &["&"], &["<<", ">>"]];
        let Some(operators) = LEVELS.get(level) else { return self.sum() };
        let mut value = self.bits(level + 1)?;
        while let Some(operator) = operators.iter().find(|operator| self.take(operator)) {
            self.operation()?;
            let (left, right) = (whole(value)?, whole(self.bits(level + 1)?)?);
            let shift = right.to_usize().filter(|shift| *shift < 10_000).ok_or(Stop::Budget);
            let result = match *operator {
                "|" => left | right,
                "&" => left & right,
                "<<" => left << shift?,
                _ => left >> shift?,
            };
            value = Value::Expression(Node::Number(Number::Rational(BigRational::from_integer(result))));
        }
        Ok(value)
    }

    fn sum(&mut self) -> Result<Value, Stop> {
        let first = self.product()?;
        if !self.tokens.get(self.at).is_some_and(|token| token.is("+") || token.is("-")) {
            return Ok(first);
        }
        let mut total = first.expression()?;
        loop {
            let minus = match () {
                () if self.take("+") => false,
                () if self.take("-") => true,
                () => return Ok(Value::Expression(total)),
            };
            self.operation()?;
            let next = self.product()?.expression()?;
            total = self.done(if minus { total.minus(&next)? } else { total.plus(&next)? })?;
        }
    }

    fn product(&mut self) -> Result<Value, Stop> {
        let first = self.factor()?;
        if !self.tokens.get(self.at).is_some_and(|token| token.is("*") || token.is("/") || token.is("//")) {
            return Ok(first);
        }
        let mut total = first.expression()?;
        loop {
            let operator = match () {
                () if self.take("*") => '*',
                () if self.take("/") => '/',
                () if self.take("//") => 'f',
                () => return Ok(Value::Expression(total)),
            };
            self.operation()?;
            let next = self.factor()?.expression()?;
            total = self.done(match operator {
                '*' => total.times(&next)?,
                '/' => total.over(&next)?,
                _ => floor(&total.over(&next)?)?,
            })?;
        }
    }

    fn factor(&mut self) -> Result<Value, Stop> {
        let (mut negative, mut signs) = (false, 0);
        loop {
            match () {
                () if self.take("-") => negative = !negative,
                () if self.take("+") => {}
                () => break,
            }
            signs += 1;
            self.operation()?;
        }
        let value = self.power()?;
        if signs == 0 {
            return Ok(value);
        }
        let value = value.expression()?;
        Ok(Value::Expression(if negative { value.negated()? } else { value }))
    }

    fn power(&mut self) -> Result<Value, Stop> {
        let base = self.primary()?;
        if !self.take("**") {
            return Ok(base);
        }
        self.enter()?;
        let exponent = self.factor()?.expression()?;
        self.nesting -= 1;
        let power = base.expression()?.power(&exponent)?;
        self.done(power).map(Value::Expression)
    }

    fn enter(&mut self) -> Result<(), Stop> {
        self.operation()?;
        self.nesting += 1;
        if self.nesting > MAX_NESTING { Err(Stop::Fails) } else { Ok(()) }
    }

    fn primary(&mut self) -> Result<Value, Stop> {
        let token = *self.tokens.get(self.at).ok_or(Stop::Fails)?;
        self.at += 1;
        if token.is("(") {
            self.enter()?;
            let value = self.comparison()?;
            self.nesting -= 1;
            self.expect(")")?;
            return Ok(value);
        }
        if token.kind != Kind::Name {
            return Err(Stop::Fails);
        }
        let literal = match &*token.text {
            "pi" => return Ok(Value::Expression(Node::Pi)),
            "I" => return Ok(Value::Expression(Node::Imaginary)),
            "oo" | "zoo" => return Ok(Value::Expression(Node::Infinite)),
            "nan" => return Ok(Value::Expression(Node::Undefined)),
            "Integer" | "Number" => match self.argument() {
                Ok(text) => text.and_then(|text| integer(text).map(Number::Rational)),
                // The digits of a repeated decimal are wrapped twice.
                Err(_) => return self.wrapped(),
            },
            "Float" => match self.argument()? {
                Some(text) => Some(Number::Float(Float::literal(text.trim_matches('\''))?)),
                None => None,
            },
            "Rational" => return self.quotient().map(Value::Expression),
            // A function that is applied to nothing is no number.
            "Symbol" => {
                let name = self.argument()?.ok_or(Stop::Fails)?;
                return Ok(Value::Expression(Node::Symbol(name.trim_matches('\'').into())));
            }
            name => return self.called(name),
        };
        literal.map(|number| Value::Expression(Node::Number(number))).ok_or(Stop::Fails)
    }

    /// The one literal in brackets.
    fn argument(&mut self) -> Result<Option<&str>, Stop> {
        match self.tokens.get(self.at..self.at + 3) {
            Some([open, literal, close]) if open.is("(") && close.is(")") => {
                self.at += 3;
                Ok(Some(&literal.text))
            }
            _ => Err(Stop::Fails),
        }
    }

    fn wrapped(&mut self) -> Result<Value, Stop> {
        self.expect("(")?;
        let value = self.primary()?;
        self.expect(")")?;
        Ok(value)
    }

    fn quotient(&mut self) -> Result<Node, Stop> {
        self.expect("(")?;
        let above = self.primary()?.expression()?;
        self.expect(",")?;
        let below = self.primary()?.expression()?;
        self.expect(")")?;
        above.over(&below)
    }

    fn called(&mut self, name: &str) -> Result<Value, Stop> {
        const KNOWN: [&str; 14] =
            ["factorial", "factorial2", "ff", "frac", "hn1", "hn2", "im", "jn", "li", "ln", "re", "rf", "sqrt", "yn"];
        let function = KNOWN.into_iter().find(|known| *known == name).ok_or(Stop::Fails)?;
        if !self.take("(") {
            return Ok(Value::Function);
        }
        self.enter()?;
        let mut arguments = Vec::new();
        while !self.take(")") {
            if !arguments.is_empty() {
                self.expect(",")?;
                if self.take(")") {
                    break;
                }
            }
            arguments.push(self.comparison()?.expression()?);
        }
        self.nesting -= 1;
        let value = Node::call(function, arguments)?;
        self.done(value).map(Value::Expression)
    }
}

fn whole(value: Value) -> Result<BigInt, Stop> {
    match value.expression()? {
        Node::Number(number) => number.as_integer().cloned().ok_or(Stop::Fails),
        _ => Err(Stop::Fails),
    }
}

fn floor(node: &Node) -> Result<Node, Stop> {
    match node {
        Node::Number(Number::Rational(value)) => Ok(Node::Number(Number::Rational(value.floor()))),
        Node::Number(Number::Float(value)) => Ok(Node::Number(Number::Rational(value.exact()?.floor()))),
        _ => Err(Stop::Fails),
    }
}

/// An integer as Python reads it.
fn integer(text: &str) -> Option<BigRational> {
    let text = text.trim_matches('\'').replace('_', "");
    let based = |base| BigInt::parse_bytes(text.get(2..)?.as_bytes(), base);
    let value = match text.get(..2) {
        Some("0x" | "0X") => based(16)?,
        Some("0b" | "0B") => based(2)?,
        Some("0o" | "0O") => based(8)?,
        _ if text.len() > 4300 => return None,
        _ => BigInt::parse_bytes(text.as_bytes(), 10)?,
    };
    Some(BigRational::from_integer(value))
}
