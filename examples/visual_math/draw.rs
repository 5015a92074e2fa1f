//! A small RGB canvas: filled shapes, lines and numerals, encoded as PNG.
//! Knows nothing of scenes or questions.

use std::io::Cursor;

use image::{ImageError, ImageFormat, Rgb, RgbImage};

/// Side of every picture in pixels: 4 x 4 cells, each the area that one image token covers.
pub(crate) const SIDE: i32 = 56;
/// Side of a cell in pixels.
pub(crate) const CELL: i32 = 14;

/// The colours that objects are named by, in the order in which captions list them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Colour {
    Red,
    Green,
    Blue,
    Yellow,
}

impl Colour {
    pub(crate) const ALL: [Colour; 4] = [Colour::Red, Colour::Green, Colour::Blue, Colour::Yellow];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Colour::Red => "red",
            Colour::Green => "green",
            Colour::Blue => "blue",
            Colour::Yellow => "yellow",
        }
    }

    /// The pixel value, `shade` lighter (positive) or darker (negative).
    pub(crate) fn pixel(self, shade: i32) -> Rgb<u8> {
        let base = match self {
            Colour::Red => [214, 40, 40],
            Colour::Green => [34, 150, 60],
            Colour::Blue => [45, 75, 215],
            Colour::Yellow => [232, 186, 24],
        };
        Rgb(base.map(|channel: i32| (channel + shade).clamp(0, 255) as u8))
    }
}

/// Near-white paper, and the ink of neutral lines.
pub(crate) const PAPER: Rgb<u8> = Rgb([250, 250, 246]);
pub(crate) const INK: Rgb<u8> = Rgb([60, 60, 66]);

/// The numerals 0 to 9, five rows of three bits each.
const NUMERALS: [[u8; 5]; 10] = [
    [0b111, 0b101, 0b101, 0b101, 0b111],
    [0b010, 0b110, 0b010, 0b010, 0b111],
    [0b111, 0b001, 0b111, 0b100, 0b111],
    [0b111, 0b001, 0b111, 0b001, 0b111],
    [0b101, 0b101, 0b111, 0b001, 0b001],
    [0b111, 0b100, 0b111, 0b001, 0b111],
    [0b111, 0b100, 0b111, 0b101, 0b111],
    [0b111, 0b001, 0b010, 0b010, 0b010],
    [0b111, 0b101, 0b111, 0b101, 0b111],
    [0b111, 0b101, 0b111, 0b001, 0b111],
];

/// A picture being drawn; everything outside its borders is clipped.
pub(crate) struct Canvas {
    image: RgbImage,
}

impl Canvas {
    pub(crate) fn new() -> Self {
        Self { image: RgbImage::from_pixel(SIDE as u32, SIDE as u32, PAPER) }
    }

    pub(crate) fn dot(&mut self, x: i32, y: i32, colour: Rgb<u8>) {
        if (0..SIDE).contains(&x) && (0..SIDE).contains(&y) {
            self.image.put_pixel(x as u32, y as u32, colour);
        }
    }

    /// A filled rectangle with its top left corner at (`x`, `y`).
    pub(crate) fn rectangle(&mut self, x: i32, y: i32, width: i32, height: i32, colour: Rgb<u8>) {
        for row in y..y + height {
            for column in x..x + width {
                self.dot(column, row, colour);
            }
        }
    }

    /// A filled circle.
    pub(crate) fn circle(&mut self, x: i32, y: i32, radius: i32, colour: Rgb<u8>) {
        for row in -radius..=radius {
            for column in -radius..=radius {
                if row * row + column * column <= radius * radius + radius / 2 {
                    self.dot(x + column, y + row, colour);
                }
            }
        }
    }

    /// A line two pixels thick.
    pub(crate) fn line(&mut self, from: (i32, i32), to: (i32, i32), colour: Rgb<u8>) {
        let steps = (to.0 - from.0).abs().max((to.1 - from.1).abs()).max(1);
        for step in 0..=steps {
            let x = from.0 + (to.0 - from.0) * step / steps;
            let y = from.1 + (to.1 - from.1) * step / steps;
            self.rectangle(x, y, 2, 2, colour);
        }
    }

    /// A numeral from 0 to 9 in a box of 6 x 10 pixels with its top left corner at (`x`, `y`).
    pub(crate) fn numeral(&mut self, x: i32, y: i32, value: u32, colour: Rgb<u8>) {
        let rows = NUMERALS[(value % 10) as usize];
        for (row, bits) in (0_i32..).zip(rows) {
            for column in 0..3 {
                if bits >> (2 - column) & 1 == 1 {
                    self.rectangle(x + 2 * column, y + 2 * row, 2, 2, colour);
                }
            }
        }
    }

    /// The picture as PNG bytes.
    pub(crate) fn png(&self) -> Result<Vec<u8>, ImageError> {
        let mut bytes = Cursor::new(Vec::new());
        self.image.write_to(&mut bytes, ImageFormat::Png)?;
        Ok(bytes.into_inner())
    }
}
