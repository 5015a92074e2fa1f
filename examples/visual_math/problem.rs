//! Questions about scenes, their answers, and the ways in which a reasoner may write them down.
//! One function per family; each needs two or more steps.

use rand::Rng;
use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;

use super::draw::Colour;
use super::scene::{Kind, SHAPES, Scene, Split, shape_name};

/// How a solution is written: not at all, with a step forgotten, or in full.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Style {
    Direct,
    Careless,
    Worked,
}

/// A line of reasoning and the answer that it ends in.
#[derive(Clone, Debug)]
pub(crate) struct Trace {
    pub(crate) thought: String,
    pub(crate) answer: String,
}

/// A question about a scene.
#[derive(Clone, Debug)]
pub(crate) struct Problem {
    pub(crate) scene: Scene,
    pub(crate) family: Family,
    pub(crate) question: String,
    pub(crate) choices: Option<Vec<String>>,
    /// Every step done: its answer is the true one.
    pub(crate) worked: Trace,
    /// A step forgotten: its answer is right only by luck.
    pub(crate) careless: Trace,
}

/// The kinds of question.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Family {
    CountAdd,
    CountCost,
    BarsSum,
    BarsGap,
    BarsCompare,
    TagsBudget,
    TagsChoice,
    TagsMean,
    Perimeter,
}

impl Family {
    pub(crate) const ALL: [Family; 9] = [
        Family::CountAdd,
        Family::CountCost,
        Family::BarsSum,
        Family::BarsGap,
        Family::BarsCompare,
        Family::TagsBudget,
        Family::TagsChoice,
        Family::TagsMean,
        Family::Perimeter,
    ];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Family::CountAdd => "count-add",
            Family::CountCost => "count-cost",
            Family::BarsSum => "bars-sum",
            Family::BarsGap => "bars-gap",
            Family::BarsCompare => "bars-compare",
            Family::TagsBudget => "tags-budget",
            Family::TagsChoice => "tags-choice",
            Family::TagsMean => "tags-mean",
            Family::Perimeter => "perimeter",
        }
    }

    pub(crate) fn answer_type(self) -> &'static str {
        match self {
            Family::BarsCompare | Family::TagsBudget => "yes/no",
            Family::TagsChoice => "choice",
            Family::TagsMean => "decimal",
            _ => "integer",
        }
    }

    fn kind(self) -> Kind {
        match self {
            Family::CountAdd | Family::CountCost => Kind::Shapes,
            Family::BarsSum | Family::BarsGap | Family::BarsCompare => Kind::Bars,
            Family::TagsBudget | Family::TagsChoice | Family::TagsMean => Kind::Tags,
            Family::Perimeter => Kind::Triangle,
        }
    }
}

impl Problem {
    /// A problem of `family` about a scene of `split`.
    pub(crate) fn random(family: Family, split: Split, random: &mut ChaCha8Rng) -> Problem {
        loop {
            let scene = Scene::random(family.kind(), split, random);
            let problem = match (family, scene) {
                (Family::CountAdd, Scene::Shapes(counts)) => Some(count_add(counts, random)),
                (Family::CountCost, Scene::Shapes(counts)) => Some(count_cost(counts, random)),
                (Family::BarsSum, Scene::Bars(heights)) => Some(bars_sum(heights, random)),
                (Family::BarsGap, Scene::Bars(heights)) => Some(bars_gap(heights)),
                (Family::BarsCompare, Scene::Bars(heights)) => bars_compare(heights, random),
                (Family::TagsBudget, Scene::Tags(prices)) => Some(tags_budget(prices, random)),
                (Family::TagsChoice, Scene::Tags(prices)) => Some(tags_choice(prices, random)),
                (Family::TagsMean, Scene::Tags(prices)) => tags_mean(prices, random),
                (Family::Perimeter, Scene::Triangle(sides)) => Some(perimeter(sides, random)),
                _ => None,
            };
            if let Some(draft) = problem {
                return Problem {
                    scene,
                    family,
                    question: draft.question,
                    choices: draft.choices,
                    worked: draft.worked,
                    careless: draft.careless,
                };
            }
        }
    }

    pub(crate) fn answer(&self) -> &str {
        &self.worked.answer
    }

    /// The whole response in the given style: `<think>...</think><answer>...</answer>`.
    pub(crate) fn response(&self, style: Style) -> String {
        let (thought, answer) = match style {
            Style::Direct => ("", self.answer()),
            Style::Careless => (self.careless.thought.as_str(), self.careless.answer.as_str()),
            Style::Worked => (self.worked.thought.as_str(), self.answer()),
        };
        // A space before the first word makes it the same token as in a caption.
        let space = if thought.is_empty() { "" } else { " " };
        format!("<think>{space}{thought}</think><answer>{answer}</answer>")
    }
}

/// What a family decides; `Problem::random` adds the scene.
struct Draft {
    question: String,
    choices: Option<Vec<String>>,
    worked: Trace,
    careless: Trace,
}

fn trace(thought: String, answer: impl ToString) -> Trace {
    Trace { thought, answer: answer.to_string() }
}

/// `count` different indices below `bound`, in random order.
fn pick(count: usize, bound: usize, random: &mut ChaCha8Rng) -> Vec<usize> {
    let mut indices: Vec<usize> = (0..bound).collect();
    indices.shuffle(random);
    indices.truncate(count);
    indices
}

fn colour(index: usize) -> &'static str {
    Colour::ALL[index % Colour::ALL.len()].name()
}

/// The colour and its value as captions write them: `red=3`.
fn reading(values: &[u32], index: usize) -> String {
    format!("{}={}", colour(index), values[index])
}

fn sign(left: u32, right: u32) -> char {
    match left.cmp(&right) {
        std::cmp::Ordering::Less => '<',
        std::cmp::Ordering::Equal => '=',
        std::cmp::Ordering::Greater => '>',
    }
}

fn yes_no(value: bool) -> &'static str {
    if value { "yes" } else { "no" }
}

fn count_add(counts: [u32; 4], random: &mut ChaCha8Rng) -> Draft {
    let picked = pick(2, 4, random);
    let (first, second) = (shape_name(&SHAPES[picked[0]]), shape_name(&SHAPES[picked[1]]));
    let (a, b) = (counts[picked[0]], counts[picked[1]]);
    Draft {
        question: format!("How many {first}s and {second}s?"),
        choices: None,
        worked: trace(format!("{first}={a} {second}={b} {a}+{b}={}", a + b), a + b),
        careless: trace(format!("{first}={a}"), a),
    }
}

fn count_cost(counts: [u32; 4], random: &mut ChaCha8Rng) -> Draft {
    let picked = pick(2, 4, random);
    let (first, second) = (shape_name(&SHAPES[picked[0]]), shape_name(&SHAPES[picked[1]]));
    let (a, b) = (counts[picked[0]], counts[picked[1]]);
    let (p, q) = (random.random_range(2..=4), random.random_range(2..=4));
    let (x, y) = (a * p, b * q);
    Draft {
        question: format!("A {first} costs {p}, a {second} {q}. Total cost?"),
        choices: None,
        worked: trace(format!("{first}={a} {a}*{p}={x} {second}={b} {b}*{q}={y} {x}+{y}={}", x + y), x + y),
        careless: trace(format!("{first}={a} {a}*{p}={x}"), x),
    }
}

/// `red=3 green=7 3+7=10 blue=2 10+2=12`, and the same without the last value.
fn running_sum(values: &[u32], picked: &[usize]) -> (Trace, Trace) {
    let (a, b, c) = (values[picked[0]], values[picked[1]], values[picked[2]]);
    let start = format!("{} {} {a}+{b}={}", reading(values, picked[0]), reading(values, picked[1]), a + b);
    let total = a + b + c;
    let worked = format!("{start} {} {}+{c}={total}", reading(values, picked[2]), a + b);
    (trace(worked, total), trace(start, a + b))
}

fn bars_sum(heights: [u32; 4], random: &mut ChaCha8Rng) -> Draft {
    let picked = pick(3, 4, random);
    let (worked, careless) = running_sum(&heights, &picked);
    let names: Vec<_> = picked.iter().map(|index| colour(*index)).collect();
    Draft { question: format!("Sum of {}, {} and {}?", names[0], names[1], names[2]), choices: None, worked, careless }
}

fn gap(values: &[u32]) -> (u32, u32, u32) {
    let high = values.iter().copied().max().unwrap_or(0);
    let low = values.iter().copied().min().unwrap_or(0);
    (high, low, high - low)
}

fn bars_gap(heights: [u32; 4]) -> Draft {
    let solve = |count: usize| {
        let readings: Vec<_> = (0..count).map(|index| reading(&heights, index)).collect();
        let (high, low, difference) = gap(&heights[..count]);
        trace(format!("{} {high}-{low}={difference}", readings.join(" ")), difference)
    };
    Draft { question: "Tallest minus shortest?".to_owned(), choices: None, worked: solve(4), careless: solve(2) }
}

/// Half of the answers are `yes`: a scene whose answer is not the wanted one is refused.
fn bars_compare(heights: [u32; 4], random: &mut ChaCha8Rng) -> Option<Draft> {
    let picked = pick(4, 4, random);
    let value = |position: usize| heights[picked[position]];
    let (left, right) = (value(0) + value(1), value(2) + value(3));
    if (left > right) != random.random_bool(0.5) {
        return None;
    }
    let names: Vec<_> = picked.iter().map(|index| colour(*index)).collect();
    let read = |position: usize| reading(&heights, picked[position]);
    let worked = format!(
        "{} {} {}+{}={left} {} {} {}+{}={right} {left}{}{right}",
        read(0),
        read(1),
        value(0),
        value(1),
        read(2),
        read(3),
        value(2),
        value(3),
        sign(left, right)
    );
    let careless = format!("{} {} {}{}{}", read(0), read(2), value(0), sign(value(0), value(2)), value(2));
    Some(Draft {
        question: format!("Is {} and {} more than {} and {}?", names[0], names[1], names[2], names[3]),
        choices: None,
        worked: trace(worked, yes_no(left > right)),
        careless: trace(careless, yes_no(value(0) > value(2))),
    })
}

fn tags_budget(prices: [u32; 3], random: &mut ChaCha8Rng) -> Draft {
    let picked = pick(2, 3, random);
    let (a, b) = (prices[picked[0]], prices[picked[1]]);
    let sum = a + b;
    let distance = random.random_range(1..=4);
    let enough = random.random_bool(0.5);
    let money = if enough { sum + distance - 1 } else { sum - distance.min(sum - 1) };
    let (first, second) = (reading(&prices, picked[0]), reading(&prices, picked[1]));
    Draft {
        question: format!("Does {money} pay for {} and {}?", colour(picked[0]), colour(picked[1])),
        choices: None,
        worked: trace(format!("{first} {second} {a}+{b}={sum} {money}{}{sum}", sign(money, sum)), yes_no(money >= sum)),
        careless: trace(format!("{first} {money}{}{a}", sign(money, a)), yes_no(money >= a)),
    }
}

fn tags_choice(prices: [u32; 3], random: &mut ChaCha8Rng) -> Draft {
    let picked = pick(2, 3, random);
    let (a, b) = (prices[picked[0]], prices[picked[1]]);
    let times = random.random_range(2..=3);
    let total = a * times + b;
    let mut options = vec![total];
    while options.len() < 3 {
        let other = (total + random.random_range(0..=8)).saturating_sub(4);
        if other > 0 && !options.contains(&other) {
            options.push(other);
        }
    }
    options.shuffle(random);
    let letter = |value: u32| {
        let nearest = (0..3).min_by_key(|index| options[*index].abs_diff(value)).unwrap_or(0);
        ["A", "B", "C"][nearest]
    };
    let (first, second) = (reading(&prices, picked[0]), reading(&prices, picked[1]));
    let part = a * times;
    Draft {
        question: format!(
            "{times} {} and 1 {}: {}=A {}=B {}=C?",
            colour(picked[0]),
            colour(picked[1]),
            options[0],
            options[1],
            options[2]
        ),
        choices: Some(options.iter().map(u32::to_string).collect()),
        worked: trace(
            format!("{first} {a}*{times}={part} {second} {part}+{b}={total} {total}={}", letter(total)),
            letter(total),
        ),
        careless: trace(format!("{first} {a}*{times}={part}"), letter(part)),
    }
}

/// Odd sums only, so that the answer is a true decimal.
fn tags_mean(prices: [u32; 3], random: &mut ChaCha8Rng) -> Option<Draft> {
    let picked = pick(2, 3, random);
    let sum = prices[picked[0]] + prices[picked[1]];
    if sum.is_multiple_of(2) {
        return None;
    }
    let (first, second) = (reading(&prices, picked[0]), reading(&prices, picked[1]));
    let start = format!("{first} {second} {}+{}={sum}", prices[picked[0]], prices[picked[1]]);
    let mean = format!("{}.5", sum / 2);
    Some(Draft {
        question: format!("Mean of {} and {}?", colour(picked[0]), colour(picked[1])),
        choices: None,
        worked: trace(format!("{start} {sum}/2={mean}"), &mean),
        careless: trace(start, sum),
    })
}

/// The order of the sides varies, so that a small set of triangles gives many questions.
fn perimeter(sides: [u32; 3], random: &mut ChaCha8Rng) -> Draft {
    let picked = pick(3, 3, random);
    let (worked, careless) = running_sum(&sides, &picked);
    let names: Vec<_> = picked.iter().map(|index| colour(*index)).collect();
    Draft {
        question: format!("Perimeter along {}, {} and {}?", names[0], names[1], names[2]),
        choices: None,
        worked,
        careless,
    }
}
