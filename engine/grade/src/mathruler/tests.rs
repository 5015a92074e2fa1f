//! mathruler's verdicts against the original's, and inputs that would keep the original busy for ever.

use serde_json::Value as Json;

use crate::{Grader, Mode, Rule};

fn verdict(prediction: &str, truth: &str) -> (bool, Rule) {
    let verdict = Grader::MathRuler.grade(prediction, truth, Mode::Answer);
    (verdict.correct, verdict.rule)
}

/// Every public pair on which mathruler 0.1.0 answers.
#[test]
fn verdicts_are_those_of_mathruler() {
    let pairs = include_str!("../../../../tests/reference/grading/public.jsonl");
    let mut graded = 0;
    for line in pairs.lines() {
        let pair: Json = serde_json::from_str(line).expect("a line is JSON");
        let text = |name: &str| pair[name].as_str().expect("a pair has texts");
        let Some(expected) = pair["mathruler"].as_bool() else { continue };
        let mode = if text("mode") == "response" { Mode::Response } else { Mode::Answer };
        let given = Grader::MathRuler.grade(text("prediction"), text("truth"), mode);
        assert_eq!(given.correct, expected, "{}: {:?} | {:?}", text("id"), text("prediction"), text("truth"));
        graded += 1;
    }
    assert!(graded > 2_000, "{graded} pairs");
}

/// What is measured to be odd in the original.
#[test]
fn slips_are_reproduced() {
    let same = [
        ("", ""),
        ("50%", "50"),
        ("5 cm", "5 miles"),
        ("12 hours", "12 minutes"),
        ("on", "no"),
        ("9007199254740993", "9007199254740992"),
        ("\\{1,132\\}", "1132"),
        ("\\sqrt[3]{2}", "\\sqrt{2}"),
        ("0.30", "3/10"),
        ("x2", "2x"),
        ("２", "2"),
        ("1/8+\\sqrt{2}", "0.125+\\sqrt{2}"),
    ];
    for (prediction, truth) in same {
        assert!(verdict(prediction, truth).0, "{prediction} | {truth}");
        assert!(verdict(truth, prediction).0, "{truth} | {prediction}");
    }
    let different = [
        ("", "1"),
        ("2/4", "1/2"),
        ("2^3", "8"),
        ("2π", "2\\pi"),
        ("0.1+0.2", "0.3"),
        ("2,1", "1,2"),
        ("(1,2)", "[1,2]"),
        ("abc", "cab"),
        ("x^{10}", "xx^9"),
        ("x^0.5", "\\sqrt{x}"),
        ("\\sqrt{x^2}", "x"),
        ("x=1", "1=x"),
        ("60°", "60"),
    ];
    for (prediction, truth) in different {
        assert!(!verdict(prediction, truth).0, "{prediction} | {truth}");
    }
}

#[test]
fn a_response_is_judged_by_its_last_box() {
    let cases = [
        ("so \\boxed{\\frac{1}{2}}", "1/2", true),
        ("\\boxed{4} no, \\boxed{ 5 }", "5", true),
        ("\\boxed{5} and \\boxed{", "5", false),
        ("no box", "None", true),
        ("<answer>5</answer>", "5", false),
    ];
    for (prediction, truth, correct) in cases {
        assert_eq!(Grader::MathRuler.grade(prediction, truth, Mode::Response).correct, correct, "{prediction}");
    }
}

#[test]
fn where_the_original_works_for_ever_the_verdict_is_false() {
    for prediction in ["9**9**9", "99999999!", "2**(10**9)", "(9**9)**9999999", "1e999999999", "3.5**99999.5**99999"] {
        let (correct, rule) = verdict(prediction, "1/3");
        assert!(!correct && matches!(rule, Rule::Budget | Rule::None), "{prediction}: {rule}");
    }
    assert_eq!(verdict("9**9**9", "1/3"), (false, Rule::Budget));
    assert!(!verdict("(x+1)**1000", "x+1").0);
}

/// Text of any size and shape ends with a verdict.
#[test]
fn hostile_texts_are_graded() {
    let many = |piece: &str, times: usize| piece.repeat(times);
    let fractions: String = (1..1_500).map(|below| format!("1/{below}+")).collect();
    let terms: String = (1..2_000).map(|power| format!("x**{power}+")).collect();
    let texts = [
        many("(", 5_000),
        many("((x+1)", 180) + &many(")", 180),
        many("{", 50_000),
        many("\\frac{", 2_000),
        many("\\begin{pmatrix} x & x & x & ", 200),
        "\\begin{pmatrix}".repeat(2) + &many("x", 15_000) + "& x & x & x & x\\end{pmatrix}\\end{pmatrix}",
        many("\\sqrt{", 300) + "x" + &many("}", 300),
        many("\\begin{verbatim}", 5_000),
        many("\\verb", 5_000),
        many("\\\\[", 20_000),
        many("x!", 4_000),
        many("(", 150) + "x" + &many(")!", 150),
        many("-", 15_000) + "x",
        many("x+", 5_000) + "x",
        many("x**", 3_000) + "x",
        many("sqrt ", 3_000) + "x",
        many("1,111", 100_000),
        many("5 cm", 100_000),
        format!("\\{}x", many(" ", 90_000)),
        many("9", 4_200) + "." + &many("9", 4_200) + "x",
        many("0.1*", 4_000) + "x",
        many("[1]0.2", 2_000),
        many("é̂∞", 50_000),
        fractions + "1/7",
        terms + "1.5",
        "\\".to_owned(),
        "\\verb".to_owned(),
        "'\"#\\\n".to_owned(),
        "\u{0}\u{1c}\u{feff}".to_owned(),
    ];
    for text in &texts {
        for truth in ["1/3", "x+1", "\\frac{x}{2}"] {
            assert!(!verdict(text, truth).0, "{:.60}", text);
            verdict(truth, text);
        }
        Grader::MathRuler.grade(&format!("\\boxed{{{text}"), "5", Mode::Response);
    }
}

/// Mixtures of what the parsers know never panic.
#[test]
fn any_mixture_of_pieces_is_graded() {
    const PIECES: [&str; 48] = [
        "1",
        "0",
        "2.5",
        ".",
        "e5",
        "j",
        "0x",
        "x",
        "xy",
        "n2",
        "pi",
        "oo",
        "sqrt",
        "ln",
        "ff",
        "nan",
        "(",
        ")",
        "[",
        "]",
        "{",
        "}",
        "+",
        "-",
        "*",
        "**",
        "/",
        "//",
        "^",
        "!",
        "!=",
        "==",
        "<",
        ",",
        "=",
        ":",
        "&",
        "|",
        "\\frac",
        "\\sqrt",
        "\\text{",
        "\\\\",
        "\\begin{pmatrix}",
        "\\end{pmatrix}",
        "$",
        "'",
        " ",
        "\n",
    ];
    let mut state = 7u64;
    let mut next = |below: usize| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as usize % below
    };
    for _ in 0..20_000 {
        let length = 1 + next(9);
        let text: String = (0..length).map(|_| PIECES[next(PIECES.len())]).collect();
        let other: String = (0..length).map(|_| PIECES[next(PIECES.len())]).collect();
        verdict(&text, &other);
        assert!(verdict(&text, &text).0, "{text}");
    }
}
