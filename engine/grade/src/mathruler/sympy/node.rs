//! sympy's expressions as far as it evaluates them by itself: sums collect equal terms, products equal bases, numbers
//! fold. Knows no simplification beyond that.

use std::rc::Rc;

use num_bigint::BigInt;
use num_rational::BigRational;
use num_traits::{One, Signed, ToPrimitive, Zero};

use super::Stop;
use super::number::{self, Number};

/// An expression.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Node {
    Number(Number),
    Pi,
    Imaginary,
    Symbol(Rc<str>),
    /// A number and terms with their coefficients, sorted, no two terms equal.
    Sum(Rc<(Number, Vec<(Node, Number)>)>),
    /// A coefficient and bases with their exponents, sorted, no two bases equal.
    Product(Rc<(Number, Vec<(Node, Node)>)>),
    /// A function that stays as it is.
    Call(&'static str, Rc<Vec<Node>>),
    /// Infinite in no direction that matters here.
    Infinite,
    Undefined,
}

const MAX_TERMS: usize = 4_000;

impl Node {
    pub(super) fn integer(value: i64) -> Self {
        Node::Number(Number::integer(value))
    }

    pub(super) fn number(&self) -> Option<&Number> {
        match self {
            Node::Number(value) => Some(value),
            _ => None,
        }
    }

    /// What it takes to work with it once.
    pub(super) fn weight(&self) -> u64 {
        match self {
            Node::Number(value) => value.weight(),
            Node::Sum(sum) => sum.1.len() as u64 + sum.0.weight(),
            Node::Product(product) => product.1.len() as u64 + product.0.weight(),
            _ => 1,
        }
    }

    fn is_lost(&self) -> bool {
        matches!(self, Node::Infinite | Node::Undefined)
    }

    /// The coefficient and the rest.
    fn split(&self) -> (Number, Node) {
        match self {
            Node::Product(product) => (product.0.clone(), Self::product(Number::one(), product.1.clone())),
            other => (Number::one(), other.clone()),
        }
    }

    fn sum(number: Number, mut terms: Vec<(Node, Number)>) -> Result<Self, Stop> {
        terms.retain(|(_, coefficient)| !coefficient.is_zero());
        if terms.is_empty() {
            return Ok(Node::Number(number));
        }
        if terms.len() > MAX_TERMS {
            return Err(Stop::Budget);
        }
        if number.is_zero()
            && let [(term, coefficient)] = &terms[..]
        {
            return Ok(scaled(term, coefficient.clone()));
        }
        Ok(Node::Sum(Rc::new((number, terms))))
    }

    fn product(coefficient: Number, factors: Vec<(Node, Node)>) -> Self {
        if factors.is_empty() || coefficient.is_zero() {
            return Node::Number(coefficient);
        }
        if coefficient.is_one()
            && let [(base, exponent)] = &factors[..]
            && exponent.number().is_some_and(Number::is_one)
        {
            return base.clone();
        }
        Node::Product(Rc::new((coefficient, factors)))
    }

    pub(super) fn plus(&self, other: &Self) -> Result<Self, Stop> {
        if self.is_lost() || other.is_lost() {
            let both = self.is_lost() && other.is_lost();
            let undefined = both || matches!((self, other), (Node::Undefined, _) | (_, Node::Undefined));
            return Ok(if undefined { Node::Undefined } else { Node::Infinite });
        }
        let (mut number, mut terms) = (Number::zero(), Vec::new());
        for side in [self, other] {
            match side {
                Node::Number(value) => number = number.plus(value)?,
                Node::Sum(sum) => {
                    number = number.plus(&sum.0)?;
                    if terms.is_empty() {
                        terms.clone_from(&sum.1);
                    } else {
                        for (term, coefficient) in &sum.1 {
                            collect(&mut terms, term.clone(), coefficient, Number::plus)?;
                        }
                    }
                }
                single => {
                    let (coefficient, term) = single.split();
                    collect(&mut terms, term, &coefficient, Number::plus)?;
                }
            }
        }
        Self::sum(number, terms)
    }

    pub(super) fn minus(&self, other: &Self) -> Result<Self, Stop> {
        match (self, other) {
            (Node::Number(left), Node::Number(right)) => left.minus(right).map(Node::Number),
            _ => self.plus(&other.negated()?),
        }
    }

    pub(super) fn negated(&self) -> Result<Self, Stop> {
        self.times(&Node::integer(-1))
    }

    pub(super) fn times(&self, other: &Self) -> Result<Self, Stop> {
        if self.is_lost() || other.is_lost() {
            let is_zero = |node: &Node| node.number().is_some_and(Number::is_zero);
            let undefined = matches!((self, other), (Node::Undefined, _) | (_, Node::Undefined));
            let undefined = undefined || is_zero(self) || is_zero(other);
            return Ok(if undefined { Node::Undefined } else { Node::Infinite });
        }
        if let (Node::Number(left), Node::Number(right)) = (self, other) {
            return left.times(right).map(Node::Number);
        }
        // A rational goes into a sum.
        for (number, sum) in [(self, other), (other, self)] {
            if let (Node::Number(Number::Rational(_)), Node::Sum(sum)) = (number, sum)
                && let Some(factor) = number.number()
            {
                let mut terms = Vec::with_capacity(sum.1.len());
                for (term, coefficient) in &sum.1 {
                    terms.push((term.clone(), coefficient.times(factor)?));
                }
                return Self::sum(sum.0.times(factor)?, terms);
            }
        }
        let (mut coefficient, mut factors) = (Number::one(), Vec::new());
        for side in [self, other] {
            match side {
                Node::Number(value) => coefficient = coefficient.times(value)?,
                Node::Product(product) => {
                    coefficient = coefficient.times(&product.0)?;
                    for (base, exponent) in &product.1 {
                        collect(&mut factors, base.clone(), exponent, Node::plus)?;
                    }
                }
                single => collect(&mut factors, single.clone(), &Node::integer(1), Node::plus)?,
            }
        }
        Self::folded(coefficient, factors)
    }

    /// A product whose numbers with integer exponents are in the coefficient.
    fn folded(mut coefficient: Number, factors: Vec<(Node, Node)>) -> Result<Self, Stop> {
        let mut kept = Vec::with_capacity(factors.len());
        let mut again = Vec::new();
        for (base, exponent) in factors {
            match (&base, &exponent) {
                (_, Node::Number(power)) if power.is_zero() => {}
                (Node::Number(_) | Node::Imaginary, Node::Number(power)) if power.as_integer().is_some() => {
                    match base.power(&exponent)? {
                        Node::Number(value) => coefficient = coefficient.times(&value)?,
                        other => again.push(other),
                    }
                }
                _ => kept.push((base, exponent)),
            }
        }
        let mut product = Self::product(coefficient, kept);
        for factor in again {
            product = match (&product, factor) {
                (Node::Number(value), factor) => scaled(&factor, value.clone()),
                (Node::Product(product), Node::Product(factor)) => {
                    let factors = product.1.iter().chain(&factor.1).cloned().collect();
                    Self::sorted(product.0.times(&factor.0)?, factors)
                }
                (Node::Product(product), factor) => {
                    let one = [(factor, Node::integer(1))];
                    Self::sorted(product.0.clone(), product.1.iter().cloned().chain(one).collect())
                }
                (other, factor) => {
                    Self::sorted(Number::one(), vec![(other.clone(), Node::integer(1)), (factor, Node::integer(1))])
                }
            };
        }
        Ok(product)
    }

    fn sorted(coefficient: Number, mut factors: Vec<(Node, Node)>) -> Self {
        factors.sort();
        Self::product(coefficient, factors)
    }

    pub(super) fn over(&self, other: &Self) -> Result<Self, Stop> {
        match (self, other) {
            (Node::Number(left), Node::Number(right)) if !right.is_zero() => left.over(right).map(Node::Number),
            (Node::Number(left), Node::Number(_)) => Ok(if left.is_zero() { Node::Undefined } else { Node::Infinite }),
            _ => self.times(&other.power(&Node::integer(-1))?),
        }
    }

    pub(super) fn power(&self, exponent: &Self) -> Result<Self, Stop> {
        if matches!(exponent, Node::Number(power) if power.is_zero()) {
            return Ok(Node::integer(1));
        }
        if self.is_lost() || exponent.is_lost() {
            let vanishes = *self == Node::Infinite && exponent.number().is_some_and(Number::is_negative);
            return Ok(if vanishes { Node::integer(0) } else { Node::Undefined });
        }
        let raw = || Ok(Self::product(Number::one(), vec![(self.clone(), exponent.clone())]));
        let Node::Number(power) = exponent else {
            return if self.number().is_some_and(Number::is_one) { Ok(self.clone()) } else { raw() };
        };
        if power.is_one() {
            return Ok(self.clone());
        }
        match (self, power.as_integer()) {
            (Node::Number(base), Some(times)) => {
                if base.is_zero() && times.is_negative() {
                    return Ok(Node::Infinite);
                }
                base.power(times).map(Node::Number)
            }
            (Node::Number(base), None) => number_power(base, power).map_or_else(raw, Ok),
            (Node::Imaginary, Some(times)) => {
                let turns = ((times % 4i32) + 4i32) % 4i32;
                Ok(match turns.to_u8() {
                    Some(0) => Node::integer(1),
                    Some(1) => Node::Imaginary,
                    Some(2) => Node::integer(-1),
                    _ => scaled(&Node::Imaginary, Number::integer(-1)),
                })
            }
            (Node::Product(product), Some(times)) => {
                let mut factors = Vec::with_capacity(product.1.len());
                for (base, inner) in &product.1 {
                    factors.push((base.clone(), inner.times(exponent)?));
                }
                Self::folded(product.0.power(times)?, factors)
            }
            _ => raw(),
        }
    }

    /// The functions that a text of two letters can name.
    pub(super) fn call(name: &'static str, arguments: Vec<Node>) -> Result<Self, Stop> {
        if arguments.iter().any(Node::is_lost) {
            return Ok(Node::Undefined);
        }
        match (name, &arguments[..]) {
            ("sqrt", [argument] | [argument, _]) => {
                argument.power(&Node::Number(Number::Rational(BigRational::new(1.into(), 2.into()))))
            }
            ("ln", [Node::Number(value)]) => logarithm(value),
            ("ln", [argument, base]) => {
                let of = |argument: &Node| Self::call("ln", vec![argument.clone()]);
                of(argument)?.over(&of(base)?)
            }
            ("factorial" | "factorial2", [Node::Number(value)]) if value.as_integer().is_some() => {
                let step = if name == "factorial" { 1 } else { 2 };
                factorial(value.as_integer().unwrap_or(&BigInt::zero()), step)
            }
            ("frac", [Node::Number(Number::Rational(value))]) => {
                Ok(Node::Number(Number::Rational(value - value.floor())))
            }
            ("ln" | "factorial" | "factorial2" | "frac" | "re" | "im" | "li", [_]) => {
                Ok(Node::Call(name, Rc::new(arguments)))
            }
            ("ff" | "rf" | "jn" | "yn" | "hn1" | "hn2", [_, _]) => Ok(Node::Call(name, Rc::new(arguments))),
            _ => Err(Stop::Fails),
        }
    }
}

fn scaled(node: &Node, coefficient: Number) -> Node {
    match node {
        Node::Number(_) => Node::Number(coefficient),
        Node::Product(product) if product.0.is_one() => Node::product(coefficient, product.1.clone()),
        other => Node::product(coefficient, vec![(other.clone(), Node::integer(1))]),
    }
}

/// Adds to the entry of `key` in a sorted list.
fn collect<T: Clone>(
    list: &mut Vec<(Node, T)>,
    key: Node,
    value: &T,
    join: impl Fn(&T, &T) -> Result<T, Stop>,
) -> Result<(), Stop> {
    match list.binary_search_by(|(known, _)| known.cmp(&key)) {
        Ok(at) => list[at].1 = join(&list[at].1, value)?,
        Err(at) => list.insert(at, (key, value.clone())),
    }
    Ok(())
}

/// A number to a power that is no integer, where that is a number.
fn number_power(base: &Number, power: &Number) -> Option<Node> {
    if base.is_zero() {
        return Some(if power.is_negative() { Node::Infinite } else { Node::integer(0) });
    }
    if base.is_one() {
        return Some(Node::integer(1));
    }
    if base.rational().is_none() || power.rational().is_none() {
        return base.float_power(power).map(Node::Number);
    }
    let power = power.rational()?;
    let root = base.exact_root(power.denom().to_u32().filter(|index| *index <= 64)?)?;
    Number::Rational(root).power(power.numer()).ok().map(Node::Number)
}

fn logarithm(value: &Number) -> Result<Node, Stop> {
    if value.is_zero() {
        return Ok(Node::Infinite);
    }
    if value.is_one() {
        return Ok(Node::integer(0));
    }
    if value.is_negative() {
        let size = logarithm(&value.times(&Number::integer(-1))?)?;
        return size.plus(&Node::Imaginary.times(&Node::Pi)?);
    }
    Ok(match value.float_logarithm() {
        Some(value) => Node::Number(value),
        None => Node::Call("ln", Rc::new(vec![Node::Number(value.clone())])),
    })
}

/// `n!`, or `n!!` with steps of two.
fn factorial(of: &BigInt, step: u64) -> Result<Node, Stop> {
    if of.is_negative() {
        let odd = (of % 2i32) != BigInt::zero();
        // Odd negative numbers have a double factorial, which no answer needs.
        return if step == 2 && odd { Err(Stop::Fails) } else { Ok(Node::Infinite) };
    }
    let mut left = of.to_u64().filter(|count| *count <= 1_600).ok_or(Stop::Budget)?;
    let mut product = BigInt::one();
    while left > 1 {
        product *= left;
        left = left.saturating_sub(step);
    }
    number::bounded(BigRational::from_integer(product)).map(|value| Node::Number(Number::Rational(value)))
}
