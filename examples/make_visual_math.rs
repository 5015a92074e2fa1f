//! Draws the visual-math problems of the examples, and with `--pretrain DIR` the corpora from which the tiny
//! models are made. Everything follows from fixed seeds: two runs write the same bytes.

#[path = "visual_math/corpus.rs"]
mod corpus;
#[path = "visual_math/draw.rs"]
mod draw;
#[path = "visual_math/problem.rs"]
mod problem;
#[path = "visual_math/scene.rs"]
mod scene;
#[path = "visual_math/table.rs"]
mod table;

use std::collections::HashSet;
use std::error::Error;
use std::fs;
use std::path::{Path, PathBuf};

use rand::SeedableRng;
use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;

use corpus::Lesson;
use problem::{Family, Problem, Style};
use scene::Split;

const TRAIN_SHARDS: usize = 5;
const TRAIN_SHARD_ROWS: usize = 1200;
const HELD_OUT_ROWS: usize = 1000;
const VISION_LESSONS: usize = 96_000;
const CAPTION_LESSONS: usize = 64_000;
const REASONING_LESSONS: usize = 64_000;
const HABIT_LESSONS: usize = 48_000;

const USAGE: &str = "usage: make_visual_math [--out DIR] [--pretrain DIR]";

/// Where to write; the corpora are written only if a folder is given.
struct Options {
    out: PathBuf,
    pretrain: Option<PathBuf>,
}

fn main() -> Result<(), Box<dyn Error>> {
    let options = parse(std::env::args().skip(1))?;
    fs::create_dir_all(&options.out)?;
    let problems = write_problems(&options.out)?;
    if let Some(folder) = &options.pretrain {
        fs::create_dir_all(folder)?;
        write_solutions(&folder.join("solutions.parquet"), &problems)?;
        write_lessons(folder, "tiny-vl", 11, VISION_LESSONS, corpus::vision)?;
        write_lessons(folder, "tiny-captioner", 12, CAPTION_LESSONS, corpus::caption)?;
        write_lessons(folder, "tiny-reasoner", 13, REASONING_LESSONS, corpus::reasoning)?;
        write_lessons(folder, "tiny-vl-habits", 14, HABIT_LESSONS, corpus::vision_habits)?;
        write_lessons(folder, "tiny-reasoner-habits", 15, HABIT_LESSONS, corpus::reasoning_habits)?;
    }
    Ok(())
}

fn parse(mut arguments: impl Iterator<Item = String>) -> Result<Options, String> {
    let mut options = Options {
        out: PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/examples/data/visual-math")),
        pretrain: None,
    };
    while let Some(argument) = arguments.next() {
        let mut folder = || {
            let value = arguments.next();
            value.map(PathBuf::from).ok_or(format!("`{argument}` needs a folder; {USAGE}"))
        };
        match argument.as_str() {
            "--out" => options.out = folder()?,
            "--pretrain" => options.pretrain = Some(folder()?),
            _ => return Err(format!("unknown argument `{argument}`; {USAGE}")),
        }
    }
    Ok(options)
}

/// A problem under the name that its row has.
struct Named {
    id: String,
    problem: Problem,
}

fn write_problems(out: &Path) -> Result<Vec<Named>, Box<dyn Error>> {
    let mut random = ChaCha8Rng::seed_from_u64(1);
    let mut all = Vec::new();
    for (split, name, shards, count) in [
        (Split::Train, "train", TRAIN_SHARDS, TRAIN_SHARDS * TRAIN_SHARD_ROWS),
        (Split::Validation, "val", 1, HELD_OUT_ROWS),
        (Split::Test, "test", 1, HELD_OUT_ROWS),
    ] {
        let rows: Vec<Named> = (0..)
            .zip(problems(split, count, &mut random))
            .map(|(row, problem)| Named { id: format!("{name}-{row:05}"), problem })
            .collect();
        for (shard, part) in rows.chunks(count / shards).enumerate() {
            let path = out.join(format!("{name}-{shard:05}-of-{shards:05}.parquet"));
            write_shard(&path, part, &mut random)?;
        }
        all.extend(rows);
    }
    Ok(all)
}

/// As many problems of each family as of any other, shuffled, no question asked twice of the same scene
/// until a family has run out of new ones.
fn problems(split: Split, count: usize, random: &mut ChaCha8Rng) -> Vec<Problem> {
    const ATTEMPTS: usize = 50;
    let mut seen = HashSet::new();
    let mut rows: Vec<Problem> = Family::ALL
        .iter()
        .cycle()
        .take(count)
        .map(|family| {
            let mut problem = Problem::random(*family, split, random);
            for _ in 0..ATTEMPTS {
                if seen.insert((problem.scene, problem.question.clone())) {
                    break;
                }
                problem = Problem::random(*family, split, random);
            }
            problem
        })
        .collect();
    rows.shuffle(random);
    rows
}

fn write_shard(path: &Path, rows: &[Named], random: &mut ChaCha8Rng) -> Result<(), Box<dyn Error>> {
    let ids: Vec<String> = rows.iter().map(|row| row.id.clone()).collect();
    let pictures = rows.iter().map(|row| row.problem.scene.png(random).map(Some)).collect::<Result<Vec<_>, _>>()?;
    let problems = || rows.iter().map(|row| &row.problem);
    let columns = vec![
        table::text("id", &ids),
        table::images("image", &ids, &pictures),
        table::text("question", problems().map(|problem| &problem.question)),
        table::text("answer", problems().map(Problem::answer)),
        table::text("answer_type", problems().map(|problem| problem.family.answer_type())),
        table::lists("choices", problems().map(|problem| problem.choices.as_ref())),
        table::text("family", problems().map(|problem| problem.family.name())),
    ];
    table::write(path, columns)?;
    eprintln!("{}: {} problems", path.display(), rows.len());
    Ok(())
}

/// The true caption and the written-out solutions of every problem, to judge captions and traces by.
fn write_solutions(path: &Path, rows: &[Named]) -> Result<(), Box<dyn Error>> {
    let response = |style| rows.iter().map(move |row| row.problem.response(style));
    let columns = vec![
        table::text("id", rows.iter().map(|row| &row.id)),
        table::text("caption", rows.iter().map(|row| row.problem.scene.caption())),
        table::text("careless", response(Style::Careless)),
        table::text("worked", response(Style::Worked)),
    ];
    table::write(path, columns)?;
    Ok(())
}

fn write_lessons(
    folder: &Path,
    name: &str,
    seed: u64,
    count: usize,
    lesson: impl Fn(&mut ChaCha8Rng) -> Lesson,
) -> Result<(), Box<dyn Error>> {
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    let lessons: Vec<Lesson> = (0..count).map(|_| lesson(&mut random)).collect();
    let ids: Vec<String> = (0..count).map(|row| format!("{name}-{row:06}")).collect();
    let pictures = lessons
        .iter()
        .map(|lesson| lesson.picture.map(|scene| scene.png(&mut random)).transpose())
        .collect::<Result<Vec<_>, _>>()?;
    let columns = vec![
        table::text("id", &ids),
        table::images("image", &ids, &pictures),
        table::text("prompt", lessons.iter().map(|lesson| &lesson.prompt)),
        table::text("response", lessons.iter().map(|lesson| &lesson.response)),
        table::text("task", lessons.iter().map(|lesson| lesson.task)),
    ];
    let path = folder.join(format!("{name}.parquet"));
    table::write(&path, columns)?;
    eprintln!("{}: {count} lessons", path.display());
    Ok(())
}
