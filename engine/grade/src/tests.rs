//! Verdicts against the reference pairs, a table of rules, and hostile inputs.

use std::collections::BTreeMap;

use crate::equality::Work;
use crate::{MAX_LENGTH, Mode, Rule, answer_of, characters, compared, grade, rule, tokenize};

#[derive(Default)]
struct Counts {
    right: usize,
    positive: usize,
    false_positive: usize,
    negative: usize,
}

/// At least 99% of the labels are met and no wrong answer passes. `--nocapture` prints a table and what is not met.
#[test]
fn reference_pairs() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/reference/grading/public.jsonl");
    let (agreed, false_positives) = agreement(path);
    assert!(agreed > 0.99, "agreed {agreed}");
    assert_eq!(false_positives, 0);
}

/// Pairs of our own, many written where the rules were weak. The wrong answers that pass are closer than double precision tells.
#[test]
fn more_pairs() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/reference/grading/more.jsonl");
    let (agreed, false_positives) = agreement(path);
    assert!(agreed > 0.97, "agreed {agreed}");
    assert!(false_positives <= 6, "{false_positives} false positives");
}

/// The share of the labels that are met, and how many wrong answers pass.
fn agreement(path: &str) -> (f64, usize) {
    let lines = std::fs::read_to_string(path).unwrap();
    let mut table: BTreeMap<String, Counts> = BTreeMap::new();
    let mut all = Counts::default();
    for line in lines.lines() {
        let pair: serde_json::Value = serde_json::from_str(line).unwrap();
        let text = |field: &str| pair[field].as_str().unwrap();
        let mode = if text("mode") == "response" { Mode::Response } else { Mode::Answer };
        let verdict = grade(text("prediction"), text("truth"), mode);
        let Some(expected) = pair["expected"].as_bool() else { continue };
        if expected != verdict.correct {
            let short = |text: &str| text.chars().take(70).collect::<String>();
            println!("{} {} | {} | {verdict:?}", text("id"), short(text("prediction")), short(text("truth")));
        }
        for counts in [table.entry(text("category").to_string()).or_default(), &mut all] {
            counts.positive += usize::from(expected);
            counts.negative += usize::from(!expected);
            counts.right += usize::from(expected && verdict.correct);
            counts.false_positive += usize::from(!expected && verdict.correct);
        }
    }
    for (category, counts) in &table {
        let Counts { right, positive, false_positive, negative } = counts;
        println!("{category:22} {right:4}/{positive:<4} false positives {false_positive}/{negative}");
    }
    let agreed = (all.right + all.negative - all.false_positive) as f64 / (all.positive + all.negative) as f64;
    println!("{path}: agreed {agreed:.4}, found {}/{}, of {} negatives", all.right, all.positive, all.negative);
    (agreed, all.false_positive)
}

#[test]
fn rules() {
    for (prediction, truth, expected) in [
        ("Paris", "paris", Rule::Exact),
        ("ÉCOLE", "école", Rule::Exact),
        ("\\text{5 cm}", "5cm", Rule::Normal),
        ("B. the second", "(B)", Rule::Choice),
        ("Yes, it is", "yes", Rule::Cleaned),
        ("The answer is \\boxed{7}", "7", Rule::Cleaned),
        ("0.5", "\\frac{1}{2}", Rule::Numeric),
        ("7 3/4", "7.75", Rule::Numeric),
        ("3 m", "3", Rule::Normal),
        ("50 cm", "0.5 m", Rule::Numeric),
        ("2 hours 30 minutes", "2.5 hours", Rule::Numeric),
        ("90 minutes", "1 hour 30 minutes", Rule::Numeric),
        ("100 cm^2", "0.01 square meters", Rule::Numeric),
        ("36 km/h", "10 m/s", Rule::Numeric),
        ("12%", "0.12", Rule::Numeric),
        ("two", "2", Rule::Normal),
        ("March 5, 2021", "5 Mar 2021", Rule::Normal),
        ("March 5, 2021", "2021-03-05", Rule::Normal),
        ("3:45 p.m.", "15:45", Rule::Numeric),
        ("true", "Yes", Rule::Normal),
        ("the north-east", "northeast", Rule::Normal),
        ("\\sqrt{8}", "2\\sqrt2", Rule::Expression),
        ("(x+1)^2", "x^2+2x+1", Rule::Expression),
        ("\\varphi+1", "1+\\phi", Rule::Expression),
        ("\\min(3, x)", "\\min(x, 3)", Rule::Expression),
        ("(0.5, 1)", "(\\frac12, 1)", Rule::Tuple),
        ("\\{2, 1\\}", "\\{1, 2\\}", Rule::Set),
        ("\\{x \\mid x > 0\\}", "(0, \\infty)", Rule::Interval),
        ("\\mathbb{R}", "(-\\infty, \\infty)", Rule::Interval),
        ("2 or -2", "\\pm 2", Rule::Set),
        ("-1 < x \\le 3", "(-1, 3]", Rule::Interval),
        ("x != 0", "(-\\infty,0)\\cup(0,\\infty)", Rule::Interval),
        ("\\begin{bmatrix}1&0.5\\end{bmatrix}", "\\begin{pmatrix}1&1/2\\end{pmatrix}", Rule::Matrix),
        ("2x - y = 0", "y = 2x", Rule::Equation),
        ("y > x", "x < y", Rule::Equation),
        ("forestgreen", "forest green", Rule::Normal),
        ("5 cm", "5 m", Rule::None),
        ("5 m^2", "5 m", Rule::None),
        ("100 cm", "1 m^2", Rule::None),
        ("5 apples", "5 pears", Rule::None),
        ("13%", "0.12", Rule::None),
        ("5 feet 3 inches", "5 feet 4 inches", Rule::None),
        ("March 5", "March 6", Rule::None),
        ("7 am", "7 pm", Rule::None),
        ("no", "true", Rule::None),
        ("x-y", "xy", Rule::None),
        ("0.333", "1/3", Rule::None),
        ("9007199254740993", "9007199254740992", Rule::None),
        ("170141183460469231731687303715884105729", "170141183460469231731687303715884105728", Rule::None),
        ("\\sqrt[3]{2}", "\\sqrt{2}", Rule::None),
        ("2^{n}-1", "2^{n-1}", Rule::None),
        ("\\frac{1}{23}", "\\frac{12}{3}", Rule::None),
        ("\\begin{vmatrix}1\\end{vmatrix}", "\\begin{pmatrix}1\\end{pmatrix}", Rule::None),
        ("cat", "act", Rule::None),
        ("2021-03-05", "2021-05-03", Rule::None),
        ("(1,2)", "(2,1)", Rule::None),
        ("1", "1 or 2", Rule::None),
        ("1 or 2", "1", Rule::None),
        ("x(x+1)", "x", Rule::None),
        ("", "", Rule::None),
        ("hour", "", Rule::None),
    ] {
        let verdict = grade(prediction, truth, Mode::Answer);
        assert_eq!(verdict.rule, expected, "{prediction} | {truth} | {verdict:?}");
        assert_eq!(rule(prediction, truth, Mode::Answer), expected);
    }
}

#[test]
fn a_verdict_shows_what_it_rests_on() {
    let verdict = grade("<think>..</think><answer>so $\\dfrac{1}{2}$ cm</answer>", " 0.5 ", Mode::Response);
    assert_eq!(
        (verdict.prediction_extracted.as_str(), verdict.truth_extracted.as_str()),
        ("so $\\dfrac{1}{2}$ cm", "0.5")
    );
    let verdict = grade("<answer>$\\dfrac{1}{2}$ cm</answer>", "0.5", Mode::Response);
    assert_eq!((verdict.prediction_form.as_str(), verdict.truth_form.as_str()), ("\\frac1 2cm", "0.5"));
    assert_eq!((verdict.correct, verdict.rule), (true, Rule::Numeric));
    let long = grade(&"7".repeat(5_000), "7", Mode::Answer);
    assert_eq!((long.prediction_extracted.len(), long.prediction_form.len()), (200, 200));
}

#[test]
fn one_answer_of_a_response_counts() {
    for (response, correct) in [
        ("<answer>5</answer>", true),
        ("<answer>3</answer> <answer>5 cm</answer>", true),
        ("<answer>so \\boxed{5}</answer>", true),
        ("\\boxed{5}", true),
        ("\\boxed{5} <answer>6</answer>", false),
        ("The answer is 5", true),
        ("I get 5", true),
        ("<think>The answer is 5", false),
        ("<think>5</think> The answer is 5", false),
        ("<answer>in 5</answer>", true),
        ("<answer>not 5 but 6</answer>", false),
        ("<answer>5, then 6</answer>", false),
        ("1 2 3 4 5 6", false),
        ("The answer is 1, 2, 3, 4, 5 or 6", false),
        ("<answer>1, 2, 3, 4, 5</answer>", false),
        ("<answer></answer>", false),
        ("", false),
    ] {
        assert_eq!(grade(response, "5", Mode::Response).correct, correct, "{response}");
    }
}

fn hostile_inputs() -> Vec<String> {
    let mut inputs: Vec<String> = [
        "9**9**9",
        "99999999!",
        "(x+1)**1000",
        "9^{9^{9^9}}",
        "\\sum_{i=1}^{2000}\\sum_{j=1}^{2000}\\sum_{k=1}^{2000}ijk",
        "\\prod_{i=1}^{2000}(x+i)!",
        "1e99999999999",
    ]
    .map(str::to_string)
    .to_vec();
    for piece in [
        "(",
        "{",
        "[",
        "\\{",
        "\\frac",
        "\\sqrt{",
        "\\frac11",
        "|",
        "-",
        "x^",
        "^",
        "1/",
        "(1,2),",
        "\\boxed{",
        "x^99",
        "1+",
        "x,",
        "a or ",
        "\\pm1",
        "x=",
        "1<x<",
        "\\text{",
        "\\begin{pmatrix}",
        "1&2\\\\",
        "é",
        "ﷺ",
        "ⅷ",
        "$",
        "\\",
        "\\sin ",
        "2000!,",
        "\\sum_{i=1}^{99}i!,",
        "\\sqrt2^{\\pi},",
        "1 hour ",
        "answer is ",
        "1,000",
        "x_{",
        "\\log_",
        "**",
        "<answer>",
    ] {
        let text = piece.repeat(12_000 / piece.len());
        inputs.push(format!("{text}1"));
        inputs.push(format!("\\left\\{{{text}\\right\\}}"));
        inputs.push(text);
    }
    inputs.extend(["7", "\\boxed{", "answer ", "( "].map(|piece| piece.repeat(1_000_000 / piece.len())));
    inputs
}

/// The budget of [`Work`] bounds what is compared and evaluated; reading is one pass, and makes few tokens of a text.
#[test]
fn hostile_inputs_end() {
    for input in &hostile_inputs() {
        for other in ["\\frac{1}{3}", "x+1", &format!("{input}0"), &format!("{input}+0"), &format!("0,{input}")] {
            rule(input, other, Mode::Answer);
            rule(other, input, Mode::Response);
        }
        if input.len() > MAX_LENGTH {
            continue;
        }
        let latex = characters::to_latex(input);
        assert!(latex.len() <= 8 * input.len() + 8 && tokenize(&latex).len() <= 6 * input.len() + 8);
    }
}

/// What there is no work left for is not the same, and no answer at all takes the rest of the work away from itself.
#[test]
fn without_work_nothing_is_found() {
    for (prediction, truth) in [("0.5", "1/2"), ("\\sqrt8", "2\\sqrt2"), ("\\{2,1,1\\}", "\\{1,2\\}"), ("x=y", "y=x")] {
        let truth = tokenize(truth);
        assert!(compared(prediction, &truth, &mut Work { ..Work::ALL }).is_some());
        assert!(compared(prediction, &truth, &mut Work { tokens: 0, ..Work::ALL }).is_none());
    }
    let truth = tokenize("2\\sqrt2");
    assert!(compared("\\sqrt8", &truth, &mut Work { steps: 3, ..Work::ALL }).is_none());
}

#[test]
fn any_mixture_of_pieces_is_graded() {
    const PIECES: [&str; 56] = [
        "\\frac",
        "{",
        "}",
        "1",
        "23",
        "0.5",
        "x",
        "yes",
        " ",
        "\\boxed",
        "(",
        ")",
        "[",
        "]",
        "\\{",
        "\\}",
        ",",
        ";",
        "=",
        "<",
        "\\le",
        "^",
        "_",
        "+",
        "-",
        "*",
        "/",
        "!",
        "|",
        "\\sqrt",
        "\\pm",
        "\\infty",
        "\\cup",
        "\\in",
        "π",
        "½",
        "²",
        "%",
        "°",
        "cm",
        "and",
        "or",
        "\\begin",
        "pmatrix",
        "&",
        "\\\\",
        "\\sin",
        "<answer>",
        "March",
        ":",
        "pm",
        "answer is",
        "R",
        "hours",
        "two",
        "e\u{301}",
    ];
    let mut state = 0x2545_f491_4f6c_dd1du64;
    let mut draw = |below: usize| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state % below as u64) as usize
    };
    for _ in 0..20_000 {
        let length = 1 + draw(14);
        let mut text = || (0..length).map(|_| PIECES[draw(PIECES.len())]).collect::<String>();
        let (a, b) = (text(), text());
        let verdict = grade(&a, &b, Mode::Answer);
        assert_eq!(rule(&a, &b, Mode::Answer), verdict.rule);
        grade(&a, &b, Mode::Response);
        assert_eq!(grade(&a, &a, Mode::Answer).correct, !a.trim().is_empty(), "{a}");
    }
    assert_eq!(answer_of("<answer>5"), Some("5"));
}
