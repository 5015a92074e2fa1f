//! Names in formulas: elementary functions and the commands that stand for one letter.
//! Knows their spelling, not their values.

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

/// The function of a name, with or without a backslash.
#[rustfmt::skip]
pub(crate) fn function(name: &str) -> Option<Function> {
    Some(match name {
        "sin" => Function::Sin, "cos" => Function::Cos, "tan" | "tg" => Function::Tan, "cot" => Function::Cot,
        "sec" => Function::Sec, "csc" => Function::Csc, "arcsin" | "asin" => Function::Arcsin,
        "arccos" | "acos" => Function::Arccos, "arctan" | "atan" => Function::Arctan, "sinh" => Function::Sinh,
        "cosh" => Function::Cosh, "tanh" => Function::Tanh, "exp" => Function::Exp, "ln" => Function::Ln,
        "log" | "lg" => Function::Log, "abs" => Function::Abs, "floor" => Function::Floor, "ceil" => Function::Ceil,
        "gcd" => Function::Gcd, "lcm" => Function::Lcm, "min" => Function::Min, "max" => Function::Max,
        _ => return None,
    })
}

/// What `^{-1}` after the name means.
pub(crate) fn inverted(function: Function) -> Option<Function> {
    match function {
        Function::Sin => Some(Function::Arcsin),
        Function::Cos => Some(Function::Arccos),
        Function::Tan => Some(Function::Arctan),
        _ => None,
    }
}

/// Commands that stand for one letter.
#[rustfmt::skip]
pub(crate) fn is_letter_command(name: &str) -> bool {
    matches!(
        name,
        "alpha" | "beta" | "gamma" | "delta" | "epsilon" | "zeta" | "eta" | "theta" | "iota" | "kappa" | "lambda"
            | "mu" | "nu" | "xi" | "rho" | "sigma" | "tau" | "upsilon" | "phi" | "chi" | "psi" | "omega" | "Gamma"
            | "Delta" | "Theta" | "Lambda" | "Xi" | "Pi" | "Sigma" | "Upsilon" | "Phi" | "Psi" | "Omega" | "ell"
            | "hbar" | "pi"
    )
}
