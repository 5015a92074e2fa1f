//! The signs, commands and words that mean something, each under one name whatever its spelling.
//! Knows spellings only; a group lists the usual one first.

use crate::functions::Function;

macro_rules! names {
    ($($name:ident $spellings:literal)*) => {
        /// What a spelling stands for. The order groups names of a kind, see the methods.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        #[repr(u8)]
        pub(crate) enum Name { $($name),* }

        /// One line a name, in the order of the names. Commands have their backslash.
        const TABLE: &str = concat!($($spellings, "\n"),*);
        const ALL: &[Name] = &[$(Name::$name),*];
    };
}

names! {
    // No meaning of its own: a variable, a word of prose, a sign that is not known.
    None ""
    Open "( \\lparen" OpenSquare "[ \\lbrack" OpenGroup "{" OpenSet "\\{ \\lbrace" OpenFloor "\\lfloor" OpenCeil
    "\\lceil"
    Begin "\\begin"
    Close ") \\rparen" CloseSquare "] \\rbrack" CloseGroup "}" CloseSet "\\} \\rbrace" CloseFloor "\\rfloor"
    CloseCeil "\\rceil" End "\\end"
    Equals "=" Less "< \\lt" Greater "> \\gt" LessEqual "\\le \\leq \\leqslant" GreaterEqual "\\ge \\geq \\geqslant"
    NotEqual "\\ne \\neq"
    Plus "+" Minus "-" PlusMinus "\\pm" MinusPlus "\\mp" Times "* \\cdot \\times \\ast \\star \\cdotp"
    Slash "/ \\div per" Power "^"
    Under "_ \\_" Bar "| \\lvert \\rvert \\vert \\mid \\|" Bang "!" Prime "' \\prime" Ampersand "& \\&"
    Comma "," Semicolon ";" Colon ": \\colon" Dot "." Quote "\"" Approx "\\approx \\simeq"
    Newline "\\\\ \\newline \\cr"
    Frac "\\frac \\dfrac \\tfrac \\cfrac \\nicefrac \\sfrac" Binom "\\binom \\dbinom \\tbinom"
    Choose "\\choose" Over "\\over" Sqrt "\\sqrt sqrt" Sum "\\sum" Prod "\\prod" Circ "\\circ"
    Infinity "\\infty inf infinity oo" Pi "\\pi pi"
    In "\\in" Cup "\\cup \\bigcup" Setminus "\\setminus \\backslash" EmptySet "\\emptyset \\varnothing \\empty"
    // Functions, in the order of `Function`.
    Sin "\\sin sin" Cos "\\cos cos" Tan "\\tan tan \\tg tg" Cot "\\cot cot" Sec "\\sec sec" Csc "\\csc csc"
    Arcsin "\\arcsin arcsin asin" Arccos "\\arccos arccos acos" Arctan "\\arctan arctan atan" Sinh "\\sinh sinh"
    Cosh "\\cosh cosh" Tanh "\\tanh tanh" Exp "\\exp exp" Ln "\\ln ln" Log "\\log log \\lg lg" Abs "abs" Floor "floor"
    Ceil "ceil" BinomialOf "ncr" Gcd "\\gcd gcd" Lcm "lcm" Min "\\min" Max "\\max max"
    Letter "\\alpha \\beta \\gamma \\delta \\epsilon \\zeta \\eta \\theta \\iota \\kappa \\lambda \\mu \\nu \\xi \
        \\rho \\sigma \\tau \\upsilon \\phi \\chi \\psi \\omega \\Gamma \\Delta \\Theta \\Lambda \\Xi \\Pi \\Sigma \
        \\Upsilon \\Phi \\Psi \\Omega \\ell \\hbar"
    // Marks of a name: `\angle ABC`.
    Mark "\\angle \\triangle \\overline \\overrightarrow \\vec \\measuredangle \\widehat \\hat \\bar \\dot"
    // Commands that are layout, alone or with their group, and the delimiters of mathematics.
    Layout "\\big \\Big \\bigg \\Bigg \\bigl \\bigr \\Bigl \\Bigr \\biggl \\biggr \\middle \\displaystyle \
        \\textstyle \\scriptstyle \\limits \\nolimits \\bf \\rm \\it \\sf \\cal \\tt \\bold \\centering \\nonumber \
        \\notag \\hfill \\large \\Large \\LARGE \\huge \\Huge \\small \\tiny \\normalsize \\footnotesize \
        \\scriptsize \\noindent \\mathstrut \\enspace \\enskip \\allowbreak \\quad \\qquad \\! \\, \\; \\: \\> \\/ \\space \\thinspace \\strut"
    Side "\\left \\right"
    Wrapper "\\mathbf \\mathit \\mathsf \\mathtt \\mathbb \\mathcal \\boldsymbol \\bm \\hbox \\operatorname \
        \\underline \\boxed \\fbox \\emph \\mathnormal \\mathop \\pmb \\ensuremath \\underbrace \
        \\overbrace \\mathbin \\mathrel"
    Text "\\text \\textbf \\textit \\textrm \\textsf \\texttt \\textnormal \\textsc \\mbox \\mathrm"
    Dropped "\\textcolor \\phantom \\hphantom \\vphantom \\color \\hspace \\vspace \\label \\tag"
    Delimiter "$ ` \\$ \\( \\) \\[ \\]"
    And "and" Or "or" To "to" Article "the" Option "option choice answer ans" Currency "usd us rs cad aud inr"
    Yes "yes true" No "no false" Am "am" Pm "pm"
    January "january jan" February "february feb" March "march mar" April "april apr" May "may" June "june jun"
    July "july jul" August "august aug" September "september sep sept" October "october oct" November "november nov"
    December "december dec"
    Hundred "hundred" Thousand "thousand" Million "million" Billion "billion" Trillion "trillion"
    // Units, in the order of `units::SCALES`.
    Metre "m meter metre" Centimetre "cm centimeter centimetre" Millimetre "mm millimeter millimetre"
    Kilometre "km kilometer kilometre" Inch "in inch inches" Foot "ft foot feet" Yard "yd yard" Mile "mi mile"
    Second "s second" Minute "min minute" Hour "h hr hour" Day "day" Week "week" Month "month" Year "year yr"
    Gram "g gram gramme" Kilogram "kg kilogram" Milligram "mg milligram" Pound "lb pound" Ounce "oz ounce"
    Litre "l liter litre" Millilitre "ml milliliter millilitre" Dollar "dollar buck" Cent "cent" Euro "euro"
    Percent "% \\% percent pct" Degree "\\degree \\degrees \\textdegree degree degrees deg"
    Joule "j joule" Newton "n newton"
    Watt "w watt" Volt "v volt" Kelvin "k kelvin" Celsius "c celsius" Fahrenheit "f fahrenheit" Hertz "hz hertz"
    Pascal "pa pascal" Unit "unit" Square "square sq" Cubic "cubic cu"
    // Units that convert to no others.
    OtherUnit "mph kph kmh mpg rpm mol kj kcal cal kw kwh mw gb mb kb db ev hp ph ppm"
}

/// Where a spelling stands in the table, and the place of its name.
#[derive(Clone, Copy)]
struct Entry {
    start: u16,
    length: u8,
    name: u8,
}

impl Entry {
    fn spelling(self) -> &'static [u8] {
        let start = usize::from(self.start);
        TABLE.as_bytes().get(start..start + usize::from(self.length)).unwrap_or_default()
    }
}

/// Bytes of the longest spelling.
const LONGEST: usize = 18;
const COUNT: usize = count();
static INDEX: [Entry; COUNT] = sorted();

const fn count() -> usize {
    let (table, mut at, mut count) = (TABLE.as_bytes(), 0, 0);
    while at < table.len() {
        if matches!(table[at], b' ' | b'\n') && at > 0 {
            count += 1;
        }
        at += 1;
    }
    count
}

/// The spellings in the order of their bytes.
#[allow(long_running_const_eval)]
const fn sorted() -> [Entry; COUNT] {
    let table = TABLE.as_bytes();
    let mut entries = [Entry { start: 0, length: 0, name: 0 }; COUNT];
    // The first line is empty.
    let (mut at, mut start, mut line, mut filled) = (1, 1, 1, 0);
    while at < table.len() {
        if matches!(table[at], b' ' | b'\n') {
            let entry = Entry { start: start as u16, length: (at - start) as u8, name: line };
            let mut place = filled;
            while place > 0 && precedes(entry, entries[place - 1]) {
                entries[place] = entries[place - 1];
                place -= 1;
            }
            entries[place] = entry;
            filled += 1;
            start = at + 1;
            if table[at] == b'\n' {
                line += 1;
            }
        }
        at += 1;
    }
    entries
}

const fn precedes(a: Entry, b: Entry) -> bool {
    let table = TABLE.as_bytes();
    let mut at = 0;
    while at < a.length as usize && at < b.length as usize {
        let (left, right) = (table[a.start as usize + at], table[b.start as usize + at]);
        if left != right {
            return left < right;
        }
        at += 1;
    }
    a.length < b.length
}

impl Name {
    /// The name of a command, which has its backslash, of a sign, or of a word in any case.
    pub(crate) fn of(text: &str) -> Self {
        let mut spelling = [0; LONGEST];
        let Some(spelling) = spelling.get_mut(..text.len()) else { return Self::None };
        spelling.copy_from_slice(text.as_bytes());
        if !text.starts_with('\\') {
            spelling.make_ascii_lowercase();
        }
        let found = INDEX.binary_search_by(|entry| entry.spelling().cmp(spelling));
        found.ok().and_then(|at| ALL.get(usize::from(INDEX[at].name))).copied().unwrap_or(Self::None)
    }

    /// The usual spelling.
    pub(crate) fn spelling(self) -> &'static str {
        let line = TABLE.split('\n').nth(self as usize).unwrap_or_default();
        line.split(' ').next().unwrap_or_default()
    }

    /// Whether the name alone says what a token is, however it is spelled.
    pub(crate) fn is_sign(self) -> bool {
        let sign = Self::None < self && self < Self::Sin && !matches!(self, Self::Begin | Self::End);
        sign || matches!(self, Self::Percent | Self::Degree)
    }

    pub(crate) fn opens(self) -> bool {
        (Self::Open..=Self::Begin).contains(&self)
    }

    pub(crate) fn closes(self) -> bool {
        (Self::Close..=Self::End).contains(&self)
    }

    pub(crate) fn relates(self) -> bool {
        (Self::Equals..=Self::NotEqual).contains(&self)
    }

    pub(crate) fn is_unit(self) -> bool {
        self >= Self::Metre
    }

    /// The power of ten of `thousand` and its like.
    pub(crate) fn power_of_ten(self) -> Option<&'static str> {
        let at = (self as usize).checked_sub(Self::Hundred as usize)?;
        ["1e2", "1e3", "1e6", "1e9", "1e12"].get(at).copied()
    }

    /// 1 for January.
    pub(crate) fn month(self) -> Option<u32> {
        let month = self as u32 + 1;
        (Self::January..=Self::December).contains(&self).then(|| month - Self::January as u32)
    }

    /// Its place among the units.
    pub(crate) fn unit(self) -> Option<usize> {
        (self as usize).checked_sub(Self::Metre as usize)
    }

    /// The function that it names.
    pub(crate) fn function(self) -> Option<Function> {
        Function::ALL.get((self as usize).checked_sub(Self::Sin as usize)?).copied()
    }

    /// A function or a constant whose name may have several letters.
    pub(crate) fn is_function_or_constant(self) -> bool {
        self.function().is_some() || matches!(self, Self::Pi | Self::Sqrt | Self::Infinity)
    }
}

#[cfg(test)]
mod tests {
    use super::{ALL, LONGEST, Name, TABLE};
    use crate::functions::Function;

    #[test]
    fn every_spelling_has_the_name_of_its_line() {
        assert_eq!(TABLE.lines().count(), ALL.len());
        for (line, name) in TABLE.lines().zip(ALL) {
            for spelling in line.split(' ').filter(|spelling| !spelling.is_empty()) {
                assert_eq!(Name::of(spelling), *name, "{spelling}");
                assert!(spelling.len() <= LONGEST, "{spelling}");
            }
        }
        assert_eq!(Name::of("X"), Name::None);
        assert_eq!(Name::of("Yes"), Name::Yes);
        assert_eq!(Name::of("\\Frac"), Name::None);
        assert_eq!(Name::of(""), Name::None);
        assert_eq!(Name::of(&"x".repeat(1000)), Name::None);
    }

    #[test]
    fn names_of_a_kind_stand_together() {
        assert_eq!(Name::Sin.function(), Some(Function::Sin));
        assert_eq!(Name::Max.function(), Some(Function::Max));
        assert_eq!(Name::Letter.function(), None);
        assert_eq!((Name::January.month(), Name::December.month(), Name::Hundred.month()), (Some(1), Some(12), None));
        assert_eq!(Name::Trillion.power_of_ten(), Some("1e12"));
        assert!(Name::Metre.is_unit() && !Name::Trillion.is_unit());
    }
}
