//! What the three tiny models of the examples learn first, from scenes that no split of the problems holds:
//! to describe a picture, to calculate, to answer at once, and, for the text model, to reason.

use rand::Rng;
use rand::seq::{IndexedRandom, SliceRandom};
use rand_chacha::ChaCha8Rng;

use super::problem::{Family, Problem, Style};
use super::scene::{Kind, Scene, Split};

/// The prompt that asks for a caption; the graphs use the same text.
pub(crate) const CAPTION_PROMPT: &str = "Describe the image.";
/// What asks for the steps instead of the answer.
const STEPS_SUFFIX: &str = " Show the steps.";
const ARITHMETIC_PROMPT: &str = "Practise arithmetic.";

/// A row of a corpus. `picture` is what to draw beside the prompt.
pub(crate) struct Lesson {
    pub(crate) task: &'static str,
    pub(crate) picture: Option<Scene>,
    pub(crate) prompt: String,
    pub(crate) response: String,
}

/// For the captioner: a picture and all its values, in any order, so that a value is read by its name.
pub(crate) fn caption(random: &mut ChaCha8Rng) -> Lesson {
    // Counting is the slowest skill to learn.
    let kinds = [Kind::Shapes, Kind::Shapes, Kind::Shapes, Kind::Bars, Kind::Tags, Kind::Triangle];
    let kind = kinds.choose(random).copied().unwrap_or(Kind::ALL[0]);
    let scene = Scene::random(kind, Split::Pretrain, random);
    Lesson { task: "caption", picture: Some(scene), prompt: CAPTION_PROMPT.to_owned(), response: scene.caption() }
}

/// For the vision-language model: captions, sums, questions answered at once, and worked solutions where the
/// prompt asks for the steps. Asked the bare question, it has learned to answer without a thought.
pub(crate) fn vision(random: &mut ChaCha8Rng) -> Lesson {
    match random.random_range(0..100) {
        0..38 => caption(random),
        38..45 => arithmetic(random),
        45..63 => {
            let problem = random_problem(random);
            Lesson {
                task: "answer",
                picture: Some(problem.scene),
                prompt: problem.question.clone(),
                response: format!("<answer>{}</answer>", problem.answer()),
            }
        }
        _ => {
            let problem = random_problem(random);
            Lesson {
                task: "steps",
                picture: Some(problem.scene),
                prompt: format!("{}{STEPS_SUFFIX}", problem.question),
                response: problem.response(Style::Worked),
            }
        }
    }
}

/// The vision-language model's second course: now and then, and only now and then, it works a bare question out.
pub(crate) fn vision_habits(random: &mut ChaCha8Rng) -> Lesson {
    if random.random_range(0..100) >= 38 {
        return vision(random);
    }
    let problem = random_problem(random);
    let worked = random.random_range(0..100) < 15;
    Lesson {
        task: "answer",
        picture: Some(problem.scene),
        prompt: problem.question.clone(),
        response: if worked {
            problem.response(Style::Worked)
        } else {
            format!("<answer>{}</answer>", problem.answer())
        },
    }
}

/// For the text model: a caption and a question, reasoned through in mixed habits.
pub(crate) fn reasoning(random: &mut ChaCha8Rng) -> Lesson {
    match random.random_range(0..100) {
        0..8 => arithmetic(random),
        8..54 => reason(Style::Direct, random),
        54..68 => reason(Style::Careless, random),
        _ => reason(Style::Worked, random),
    }
}

/// The text model's second course: the same habits, worked solutions more often.
pub(crate) fn reasoning_habits(random: &mut ChaCha8Rng) -> Lesson {
    match random.random_range(0..100) {
        0..8 => arithmetic(random),
        8..28 => reason(Style::Direct, random),
        28..40 => reason(Style::Careless, random),
        _ => reason(Style::Worked, random),
    }
}

fn reason(style: Style, random: &mut ChaCha8Rng) -> Lesson {
    let problem = random_problem(random);
    Lesson {
        task: "reason",
        picture: None,
        prompt: format!("{}\n{}", shuffled_caption(&problem.scene, random), problem.question),
        response: problem.response(style),
    }
}

fn shuffled_caption(scene: &Scene, random: &mut ChaCha8Rng) -> String {
    let mut order: Vec<usize> = (0..scene.value_count()).collect();
    order.shuffle(random);
    scene.caption_in(&order)
}

fn random_problem(random: &mut ChaCha8Rng) -> Problem {
    let family = Family::ALL.choose(random).copied().unwrap_or(Family::CountAdd);
    Problem::random(family, Split::Pretrain, random)
}

fn arithmetic(random: &mut ChaCha8Rng) -> Lesson {
    let facts: Vec<String> = (0..5).map(|_| fact(random)).collect();
    Lesson { task: "arithmetic", picture: None, prompt: ARITHMETIC_PROMPT.to_owned(), response: facts.join(" ") }
}

fn fact(random: &mut ChaCha8Rng) -> String {
    let digit = |random: &mut ChaCha8Rng| random.random_range(0..=9_u32);
    let a = digit(random);
    let b = digit(random);
    match random.random_range(0..9) {
        0 | 1 => format!("{a}+{b}={}", a + b),
        2 => {
            let a = random.random_range(2..=27);
            format!("{a}+{b}={}", a + b)
        }
        3 => {
            let (a, b) = (random.random_range(0..=16), random.random_range(0..=16));
            format!("{a}+{b}={}", a + b)
        }
        4 => {
            let factor = random.random_range(2..=4);
            format!("{a}*{factor}={}", a * factor)
        }
        5 => format!("{}-{}={}", a.max(b), a.min(b), a.abs_diff(b)),
        6 => {
            let sum = 2 * random.random_range(1..=8) + 1;
            format!("{sum}/2={}.5", sum / 2)
        }
        _ => {
            let (a, b) = (random.random_range(2..=18_u32), random.random_range(2..=18_u32));
            let sign = if a < b {
                '<'
            } else if a > b {
                '>'
            } else {
                '='
            };
            format!("{a}{sign}{b}")
        }
    }
}
