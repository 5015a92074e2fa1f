//! What sympy 1.14 makes of a text: `simplify(parse_expr(text)) == 0`, with implicit multiplication. The text is read as
//! sympy reads it, quirks included; whether the value is zero is decided by evaluation, exact for fractions of
//! polynomials, numeric otherwise, and not by sympy's rewriting.

mod complex;
mod evaluate;
mod node;
mod number;
mod tokens;
mod transform;
mod zero;

/// Why there is no value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stop {
    /// Python or sympy raises.
    Fails,
    /// More work than a verdict may take. The reference works on, for seconds or for ever.
    Budget,
}

/// Whether sympy simplifies the text to zero.
pub(super) fn is_zero(text: &str) -> Result<bool, Stop> {
    let tokens = tokens::tokenize(&text.replace('^', "**"))?;
    let tokens = transform::transform(tokens)?;
    zero::is_zero(&evaluate::evaluate(&tokens)?)
}

#[cfg(test)]
mod tests {
    use super::{Stop, is_zero};

    /// Against sympy 1.14.
    #[test]
    fn zero_is_found_where_sympy_finds_it() {
        let cases = [
            ("(x-2)(x-3)-(x^2-5x+6)", Ok(true)),
            ("(x_2+x_1)-(x_1+x_2)", Ok(true)),
            ("(ba)-(ab)", Ok(true)),
            ("(2021-05-03)-(2021-03-05)", Ok(true)),
            ("(13pi/2)-(13/2pi)", Ok(true)),
            ("(sqrt(24))-(2sqrt(6))", Ok(true)),
            ("(1+sqrt(2))-(sqrt(3+2sqrt(2)))", Ok(true)),
            ("(sqrt(x)^2)-(x)", Ok(true)),
            ("(sqrt(x^2))-(x)", Ok(false)),
            ("(0.1+0.2)-(0.3)", Ok(false)),
            ("(0.5)-(1/2)", Ok(true)),
            ("(0.1x+0.2x)-(0.3x)", Ok(false)),
            ("(3!)-(6)", Ok(true)),
            ("(5!!)-(15)", Ok(true)),
            ("(0.2[1])-(19/90)", Ok(true)),
            ("(x2)-(2x)", Ok(true)),
            ("(1_000)-(1000)", Ok(true)),
            ("(1==1)-(2==2)", Ok(true)),
            ("(1/0)-(1/0)", Ok(false)),
            ("(x<1)-(x<1)", Err(Stop::Fails)),
            ("(1,2)-(1,2)", Err(Stop::Fails)),
            ("(c))-(c)", Err(Stop::Fails)),
            ("(x=1)-(x=1)", Err(Stop::Fails)),
            ("(9**9**9)-(1)", Err(Stop::Budget)),
        ];
        for (text, zero) in cases {
            assert_eq!(is_zero(text), zero, "{text}");
        }
    }
}
