//! Qwen2.5-VL's vision tower: patches to features. Most blocks attend within windows, some over the whole image; the
//! merger makes one feature of each square of patches. Knows nothing of tokens.

use burn::tensor::{Device, Int, Tensor, TensorData, activation};

use super::Visitor;
use super::layers::{GatedMlp, Heads, Linear, RmsNorm, Rotary, project};
use super::positions::{patch_angles, window_order};
use super::weight::Weight;
use crate::config::VisionConfig;
use crate::types::ImagePatches;
use crate::{Error, Result};

const EPSILON: f64 = 1e-6;

/// The vision tower.
#[derive(Clone, Debug)]
pub(super) struct VisionTower {
    pub(super) config: VisionConfig,
    pub(super) patch_embed: Weight,
    pub(super) blocks: Vec<Block>,
    pub(super) merger: Merger,
}

#[derive(Clone, Debug)]
pub(super) struct Block {
    pub(super) norm1: RmsNorm,
    pub(super) qkv: Linear,
    pub(super) proj: Linear,
    pub(super) norm2: RmsNorm,
    pub(super) mlp: GatedMlp,
}

#[derive(Clone, Debug)]
pub(super) struct Merger {
    pub(super) norm: RmsNorm,
    pub(super) inner: Linear,
    pub(super) outer: Linear,
}

impl VisionTower {
    pub(super) fn empty(config: &VisionConfig, device: &Device) -> Self {
        let block = || Block {
            norm1: RmsNorm::empty(EPSILON, device),
            qkv: Linear::empty(true, device),
            proj: Linear::empty(true, device),
            norm2: RmsNorm::empty(EPSILON, device),
            mlp: GatedMlp::empty(true, device),
        };
        VisionTower {
            config: config.clone(),
            patch_embed: Weight::empty(device),
            blocks: (0..config.depth).map(|_| block()).collect(),
            merger: Merger {
                norm: RmsNorm::empty(EPSILON, device),
                inner: Linear::empty(true, device),
                outer: Linear::empty(true, device),
            },
        }
    }

    pub(super) fn visit(&mut self, visitor: &mut dyn Visitor) {
        visitor.matrix("visual.patch_embed.proj.weight", &mut self.patch_embed);
        for (index, block) in self.blocks.iter_mut().enumerate() {
            let path = format!("visual.blocks.{index}");
            block.norm1.visit(&format!("{path}.norm1"), visitor);
            block.qkv.visit(&format!("{path}.attn.qkv"), visitor);
            block.proj.visit(&format!("{path}.attn.proj"), visitor);
            block.norm2.visit(&format!("{path}.norm2"), visitor);
            block.mlp.visit(&format!("{path}.mlp"), visitor);
        }
        self.merger.norm.visit("visual.merger.ln_q", visitor);
        self.merger.inner.visit("visual.merger.mlp.0", visitor);
        self.merger.outer.visit("visual.merger.mlp.2", visitor);
    }

    /// The features of images one after the other, `[merged cells, width of the language model]`.
    ///
    /// # Errors
    /// When an image's pixels do not fit its grid or its grid does not fit the merge squares.
    pub(super) fn forward(&self, images: &[&ImagePatches], device: &Device) -> Result<Tensor<2>> {
        let layout = Layout::new(images, &self.config, device)?;
        let mut hidden = self.patch_embed.product(layout.pixels(images, &self.config, device));
        for (index, block) in self.blocks.iter().enumerate() {
            hidden = block.forward(hidden, layout.segments(index, &self.config));
        }
        let features = self.merger.forward(self.merger.squares(self.merger.norm.forward(hidden), &self.config));
        Ok(match &layout.cell_places {
            None => features,
            Some(places) => features.select(0, indices(places, device)),
        })
    }
}

impl Merger {
    /// Each square of patches as one row.
    pub(super) fn squares(&self, patches: Tensor<2>, config: &VisionConfig) -> Tensor<2> {
        let ([count, width], unit) = (patches.dims(), config.merge_unit());
        patches.reshape([count / unit, unit * width])
    }

    fn forward(&self, squares: Tensor<2>) -> Tensor<2> {
        self.outer.forward(activation::gelu(self.inner.forward(squares)))
    }
}

/// Where the patches of several images lie, and which of them attend to each other.
pub(super) struct Layout {
    patch_order: Vec<(usize, usize)>,
    windows: Segments,
    whole: Segments,
    /// Where each merged cell of the images lies among the rows of the merger; none when they are in order.
    pub(super) cell_places: Option<Vec<usize>>,
}

impl Layout {
    /// # Errors
    /// When an image's pixels do not fit its grid or its grid does not fit the merge squares.
    pub(super) fn new(images: &[&ImagePatches], config: &VisionConfig, device: &Device) -> Result<Self> {
        let plan = Plan::new(images, config)?;
        let heads = Heads { queries: config.heads, keys: config.heads, width: config.hidden_size / config.heads };
        let rotary = Rotary::new(&plan.angles, heads);
        Ok(Layout {
            patch_order: plan.patch_order,
            windows: Segments::new(plan.windows, &rotary, device),
            whole: Segments::new(plan.whole, &rotary, device),
            cell_places: (!plan.cells_in_order).then_some(plan.cell_places),
        })
    }

    /// The pixels of all patches in their order, `[patches, width]`.
    pub(super) fn pixels(&self, images: &[&ImagePatches], config: &VisionConfig, device: &Device) -> Tensor<2> {
        let width = config.patch_width();
        let mut pixels = Vec::with_capacity(self.patch_order.len() * width);
        for (image, place) in &self.patch_order {
            pixels.extend_from_slice(&images[*image].pixels[place * width..(place + 1) * width]);
        }
        Tensor::from_data(TensorData::new(pixels, [self.patch_order.len(), width]), device)
    }

    /// Which patches attend to each other in a block.
    pub(super) fn segments(&self, block: usize, config: &VisionConfig) -> &Segments {
        if config.full_attention_blocks.contains(&block) { &self.whole } else { &self.windows }
    }
}

impl Block {
    fn forward(&self, hidden: Tensor<2>, segments: &Segments) -> Tensor<2> {
        let mixed = segments.attend(self.qkv.forward(self.norm1.forward(hidden.clone())));
        let hidden = self.proj.forward(mixed) + hidden;
        let normed = self.norm2.forward(hidden.clone());
        self.mlp.forward(normed) + hidden
    }
}

/// How the patches of several images are laid out and which of them attend to each other.
struct Plan {
    /// Image and place of each patch, windows side by side.
    patch_order: Vec<(usize, usize)>,
    /// Rotary angles in that order.
    angles: Vec<f32>,
    /// Patches per window.
    windows: Vec<usize>,
    /// Patches per frame.
    whole: Vec<usize>,
    /// Where each merged cell of the images lies in that order.
    cell_places: Vec<usize>,
    cells_in_order: bool,
}

impl Plan {
    fn new(images: &[&ImagePatches], config: &VisionConfig) -> Result<Self> {
        let unit = config.merge_unit();
        let mut plan = Plan {
            patch_order: Vec::new(),
            angles: Vec::new(),
            windows: Vec::new(),
            whole: Vec::new(),
            cell_places: Vec::new(),
            cells_in_order: true,
        };
        for (index, image) in images.iter().enumerate() {
            check_image(index, image, config)?;
            let (order, sizes) = window_order(image.grid, config);
            let angles = patch_angles(image.grid, config);
            let per_cell = angles.len() / order.len();
            let first_cell = plan.cell_places.len();
            plan.cell_places.resize(first_cell + order.len(), 0);
            for (place, cell) in order.iter().enumerate() {
                plan.patch_order.extend((cell * unit..(cell + 1) * unit).map(|patch| (index, patch)));
                plan.angles.extend_from_slice(&angles[cell * per_cell..(cell + 1) * per_cell]);
                plan.cell_places[first_cell + cell] = first_cell + place;
                plan.cells_in_order &= place == *cell;
            }
            plan.windows.extend(sizes.iter().map(|cells| cells * unit));
            let [frames, rows, columns] = image.grid;
            plan.whole.extend(std::iter::repeat_n(rows * columns, frames));
        }
        Ok(plan)
    }
}

fn check_image(index: usize, image: &ImagePatches, config: &VisionConfig) -> Result<()> {
    let [frames, rows, columns] = image.grid;
    let merge = config.spatial_merge_size;
    if frames == 0 || rows == 0 || columns == 0 || !rows.is_multiple_of(merge) || !columns.is_multiple_of(merge) {
        let message = format!("image {index} has the grid {:?}, expected multiples of {merge} patches", image.grid);
        return Err(Error::input(message));
    }
    let expected = image.patches() * config.patch_width();
    if image.pixels.len() != expected {
        let message = format!(
            "image {index} has {} pixel values, expected {expected}: {} patches of {}",
            image.pixels.len(),
            image.patches(),
            config.patch_width()
        );
        return Err(Error::input(message));
    }
    Ok(())
}

/// Runs of patches that attend among themselves. Runs of one length are one batch; where lengths differ, the runs of
/// each length are gathered.
pub(super) struct Segments {
    pub(super) groups: Vec<Group>,
    /// Where each patch is found in the groups laid side by side; none when there is one group.
    pub(super) back: Option<Tensor<1, Int>>,
}

pub(super) struct Group {
    pub(super) count: usize,
    /// The patches of the runs; none when they are all patches in order.
    pub(super) patches: Option<Tensor<1, Int>>,
    pub(super) rotary: Rotary,
}

impl Segments {
    fn new(lengths: Vec<usize>, rotary: &Rotary, device: &Device) -> Self {
        let mut distinct = lengths.clone();
        distinct.sort_unstable();
        distinct.dedup();
        if distinct.len() <= 1 {
            let group = Group { count: lengths.len(), patches: None, rotary: rotary.clone() };
            return Segments { groups: vec![group], back: None };
        }
        let mut back = vec![0; lengths.iter().sum()];
        let mut gathered = 0;
        let mut groups = Vec::with_capacity(distinct.len());
        for length in distinct {
            let mut patches = Vec::new();
            let mut start = 0;
            for run in &lengths {
                if *run == length {
                    patches.extend(start..start + run);
                }
                start += run;
            }
            for patch in &patches {
                back[*patch] = gathered;
                gathered += 1;
            }
            let count = patches.len() / length;
            let rotary = rotary.select(&patches);
            groups.push(Group { count, rotary, patches: Some(indices(&patches, device)) });
        }
        Segments { groups, back: Some(indices(&back, device)) }
    }

    /// Attention of fused queries, keys and values within each run.
    fn attend(&self, fused: Tensor<2>) -> Tensor<2> {
        let attend = |group: &Group| {
            let fused = match &group.patches {
                Some(patches) => fused.clone().select(0, patches.clone()),
                None => fused.clone(),
            };
            project(fused, group.count, &group.rotary).attend(None)
        };
        self.put_back(self.groups.iter().map(attend).collect())
    }

    /// The rows of the groups in the order of the patches.
    pub(super) fn put_back(&self, mut groups: Vec<Tensor<2>>) -> Tensor<2> {
        match (&self.back, groups.len()) {
            (None, 1) => groups.remove(0),
            (back, _) => {
                let rows = Tensor::cat(groups, 0);
                match back {
                    Some(back) => rows.select(0, back.clone()),
                    None => rows,
                }
            }
        }
    }
}

/// Row numbers as a tensor.
pub(super) fn indices(rows: &[usize], device: &Device) -> Tensor<1, Int> {
    let rows: Vec<i64> = rows.iter().map(|row| *row as i64).collect();
    let count = rows.len();
    Tensor::from_data(TensorData::new(rows, [count]), device)
}
