//! What a picture shows: the values, the split that they belong to, the caption and the drawing.
//! Knows nothing of questions.

use image::{ImageError, Rgb};
use rand::Rng;
use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;

use super::draw::{CELL, Canvas, Colour, INK, PAPER};

/// The four kinds of object in a `Scene::Shapes`, in the caption's order.
pub(crate) const SHAPES: [(Colour, &str); 4] =
    [(Colour::Red, "circle"), (Colour::Red, "square"), (Colour::Blue, "circle"), (Colour::Blue, "square")];

/// The values of a picture; where things stand and how they are shaded is left to the drawing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Scene {
    /// How many objects of each of `SHAPES`.
    Shapes([u32; 4]),
    /// The heights, 1 to 9, of a red, a green, a blue and a yellow bar.
    Bars([u32; 4]),
    /// The prices, 1 to 9, on a red, a green and a blue tag.
    Tags([u32; 3]),
    /// The lengths, 1 to 9, of a triangle's red, green and blue side.
    Triangle([u32; 3]),
}

/// A kind of scene.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Shapes,
    Bars,
    Tags,
    Triangle,
}

/// A part of the data; each scene belongs to exactly one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Split {
    Test,
    Validation,
    Train,
    Pretrain,
}

impl Kind {
    pub(crate) const ALL: [Kind; 4] = [Kind::Shapes, Kind::Bars, Kind::Tags, Kind::Triangle];

    fn draw_values(self, random: &mut ChaCha8Rng) -> Scene {
        match self {
            Kind::Shapes => loop {
                let counts = std::array::from_fn(|_| random.random_range(0..=4));
                if (2..=11).contains(&counts.iter().sum::<u32>()) {
                    return Scene::Shapes(counts);
                }
            },
            Kind::Bars => Scene::Bars(std::array::from_fn(|_| random.random_range(1..=9))),
            Kind::Tags => Scene::Tags(std::array::from_fn(|_| random.random_range(1..=9))),
            Kind::Triangle => Scene::Triangle(std::array::from_fn(|_| random.random_range(1..=9))),
        }
    }
}

impl Scene {
    /// A scene of the given kind that belongs to `split`.
    pub(crate) fn random(kind: Kind, split: Split, random: &mut ChaCha8Rng) -> Scene {
        loop {
            let scene = kind.draw_values(random);
            if scene.split() == split {
                return scene;
            }
        }
    }

    /// The split is a function of the values alone, so no scene can be in two splits.
    pub(crate) fn split(&self) -> Split {
        let digest = blake3::hash(self.caption().as_bytes());
        match digest.as_bytes()[0] % 10 {
            0 => Split::Test,
            1 => Split::Validation,
            2..=4 => Split::Train,
            _ => Split::Pretrain,
        }
    }

    /// How many values the picture shows.
    pub(crate) fn value_count(&self) -> usize {
        match self {
            Scene::Shapes(_) | Scene::Bars(_) => 4,
            Scene::Tags(_) | Scene::Triangle(_) => 3,
        }
    }

    /// All values of the picture in their usual order, for example `bars red=3 green=7 blue=2 yellow=9`.
    pub(crate) fn caption(&self) -> String {
        self.caption_in(&(0..self.value_count()).collect::<Vec<_>>())
    }

    /// The values at the indices of `order`, in that order.
    pub(crate) fn caption_in(&self, order: &[usize]) -> String {
        let (head, names, values): (&str, Vec<String>, &[u32]) = match self {
            Scene::Shapes(counts) => ("shapes", SHAPES.iter().map(shape_name).collect(), counts),
            Scene::Bars(heights) => ("bars", colour_names(), heights),
            Scene::Tags(prices) => ("tags", colour_names(), prices),
            Scene::Triangle(sides) => ("triangle", colour_names(), sides),
        };
        let mut caption = head.to_owned();
        for index in order {
            caption += &format!(" {}={}", names[*index], values[*index]);
        }
        caption
    }

    /// The picture as PNG. Positions and shades come from `random`; the values fix the rest.
    pub(crate) fn png(&self, random: &mut ChaCha8Rng) -> Result<Vec<u8>, ImageError> {
        let mut canvas = Canvas::new();
        match self {
            Scene::Shapes(counts) => draw_shapes(&mut canvas, counts, random),
            Scene::Bars(heights) => draw_bars(&mut canvas, heights, random),
            Scene::Tags(prices) => draw_tags(&mut canvas, prices, random),
            Scene::Triangle(sides) => draw_triangle(&mut canvas, sides, random),
        }
        canvas.png()
    }
}

/// The name of one of `SHAPES`, for example `red circle`.
pub(crate) fn shape_name((colour, form): &(Colour, &str)) -> String {
    format!("{} {form}", colour.name())
}

fn colour_names() -> Vec<String> {
    Colour::ALL.iter().map(|colour| colour.name().to_owned()).collect()
}

fn shade(random: &mut ChaCha8Rng) -> i32 {
    random.random_range(-12..=12)
}

fn shuffled_cells(random: &mut ChaCha8Rng) -> Vec<(i32, i32)> {
    let mut cells: Vec<(i32, i32)> = (0..16).map(|cell| (cell % 4 * CELL, cell / 4 * CELL)).collect();
    cells.shuffle(random);
    cells
}

fn draw_shapes(canvas: &mut Canvas, counts: &[u32; 4], random: &mut ChaCha8Rng) {
    let objects = SHAPES.iter().zip(counts).flat_map(|(shape, count)| (0..*count).map(move |_| shape));
    for ((colour, form), (x, y)) in objects.zip(shuffled_cells(random)) {
        let (x, y) = (x + random.random_range(-1..=1), y + random.random_range(-1..=1));
        let pixel = colour.pixel(shade(random));
        if *form == "circle" {
            canvas.circle(x + 7, y + 7, 5, pixel);
        } else {
            canvas.rectangle(x + 2, y + 2, 10, 10, pixel);
        }
    }
}

/// Bars of blocks that are five pixels high, so that a reader can count them.
fn draw_bars(canvas: &mut Canvas, heights: &[u32; 4], random: &mut ChaCha8Rng) {
    canvas.rectangle(0, 53, 56, 1, INK);
    for ((column, colour), height) in (0..).zip(Colour::ALL).zip(heights) {
        let x = column * CELL + 2 + random.random_range(-1..=1);
        let pixel = colour.pixel(shade(random));
        for block in 0..*height as i32 {
            canvas.rectangle(x, 49 - 5 * block, 10, 4, pixel);
        }
    }
}

fn draw_tags(canvas: &mut Canvas, prices: &[u32; 3], random: &mut ChaCha8Rng) {
    for ((colour, price), cell) in Colour::ALL.iter().zip(prices).zip(shuffled_cells(random)) {
        let pixel = colour.pixel(shade(random));
        draw_tag(canvas, cell, *price, pixel, random);
    }
}

/// A coloured square that fills a cell, with a numeral on it.
fn draw_tag(canvas: &mut Canvas, cell: (i32, i32), value: u32, pixel: Rgb<u8>, random: &mut ChaCha8Rng) {
    let (x, y) = (cell.0 + random.random_range(0..=1), cell.1 + random.random_range(0..=1));
    canvas.rectangle(x, y, 13, 13, pixel);
    canvas.numeral(x + 4, y + 2, value, PAPER);
}

fn draw_triangle(canvas: &mut Canvas, sides: &[u32; 3], random: &mut ChaCha8Rng) {
    let apex = (27 + random.random_range(-4..=4), 4 + random.random_range(-2..=2));
    let left = (13 + random.random_range(-3..=3), 39);
    let right = (41 + random.random_range(-3..=3), 39);
    let ends = [(apex, left), (apex, right), (left, right)];
    let labels = [(0, 14), (42, 14), (14, 42)];
    for (index, colour) in Colour::ALL.into_iter().take(3).enumerate() {
        let pixel = colour.pixel(shade(random));
        canvas.line(ends[index].0, ends[index].1, pixel);
        draw_tag(canvas, labels[index], sides[index], pixel, random);
    }
}
