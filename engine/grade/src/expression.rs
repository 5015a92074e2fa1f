//! The tree of a formula: numbers, variables, operations. Knows neither how it is written nor its value.

use crate::functions::Function;

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

impl Expression {
    fn add(&mut self, node: Node) -> NodeId {
        self.nodes.push(node);
        self.nodes.len() - 1
    }

    /// The expression times a power of a decimal.
    pub(crate) fn scaled(mut self, factor: &str, power: i32) -> Self {
        if factor == "1" || power == 0 {
            return self;
        }
        let factor = self.add(Node::Number(factor.into()));
        let mut factors = vec![(self.root, false)];
        factors.extend((0..power.unsigned_abs().min(64)).map(|_| (factor, power < 0)));
        self.root = self.add(Node::Product(factors));
        self
    }

    /// The difference, or the sum, of two expressions.
    pub(crate) fn joined(mut self, mut other: Self, minus: bool) -> Self {
        let shift = self.nodes.len();
        for node in &mut other.nodes {
            node.shift(shift);
        }
        self.nodes.append(&mut other.nodes);
        self.root = self.add(Node::Sum(vec![(self.root, false), (other.root + shift, minus)]));
        self
    }
}

impl Node {
    /// Moves what it refers to.
    fn shift(&mut self, by: usize) {
        match self {
            Self::Sum(parts) | Self::Product(parts) => parts.iter_mut().for_each(|(id, _)| *id += by),
            Self::Power(base, exponent) => (*base, *exponent) = (*base + by, *exponent + by),
            Self::Root(id, _) | Self::Factorial(id) => *id += by,
            Self::Call(_, arguments) => arguments.iter_mut().for_each(|id| *id += by),
            Self::Series { from, to, body, .. } => (*from, *to, *body) = (*from + by, *to + by, *body + by),
            Self::Number(_) | Self::Pi | Self::Euler | Self::Imaginary | Self::Infinity | Self::Variable(_) => {}
        }
    }
}
