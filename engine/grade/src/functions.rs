//! The elementary functions that formulas may call.
//! A list of names; `numeric` and `modular` know their values.

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Function {
    Sin,
    Cos,
    Tan,
    Cot,
    Sec,
    Csc,
    Arcsin,
    Arccos,
    Arctan,
    Sinh,
    Cosh,
    Tanh,
    Exp,
    Ln,
    /// Two arguments: the base, then the number.
    Log,
    Abs,
    Floor,
    Ceil,
    Binomial,
    Gcd,
    Lcm,
    Min,
    Max,
}

impl Function {
    pub(crate) const ALL: [Self; 23] = [
        Self::Sin,
        Self::Cos,
        Self::Tan,
        Self::Cot,
        Self::Sec,
        Self::Csc,
        Self::Arcsin,
        Self::Arccos,
        Self::Arctan,
        Self::Sinh,
        Self::Cosh,
        Self::Tanh,
        Self::Exp,
        Self::Ln,
        Self::Log,
        Self::Abs,
        Self::Floor,
        Self::Ceil,
        Self::Binomial,
        Self::Gcd,
        Self::Lcm,
        Self::Min,
        Self::Max,
    ];

    /// What `^{-1}` after the name means.
    pub(crate) fn inverted(self) -> Option<Self> {
        match self {
            Self::Sin => Some(Self::Arcsin),
            Self::Cos => Some(Self::Arccos),
            Self::Tan => Some(Self::Arctan),
            _ => None,
        }
    }
}
