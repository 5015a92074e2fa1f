//! Weights in and out: safetensors files in Hugging Face layout, one or sharded, and random ones from a seed. Knows
//! tensors by the names of [`crate::model::parameters::specs`] only.

mod draw;
mod folder;
mod load;
mod mapped;
mod save;

#[cfg(test)]
mod damage_tests;
#[cfg(test)]
mod tests;

use burn::tensor::Device;

pub use self::load::{check_files, load};
pub use self::save::{BESIDE_WEIGHTS, InitOptions, SaveOptions, SavedModel, init_folder, save, save_to_folder};
use crate::device::is_cpu;
use crate::model::parameters::Spec;

const SINGLE_FILE: &str = "model.safetensors";
const INDEX_FILE: &str = "model.safetensors.index.json";
/// What every safetensors file's name ends in.
const SAFETENSORS: &str = ".safetensors";

/// How a loaded model's matrices lie in memory. Results have the same bits either way: computation is in f32.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Storage {
    /// In f32: the fastest, and what training needs.
    #[default]
    F32,
    /// Matrices that are saved in 16 bits stay in their mapped files and are widened, a few rows at a time, when they are used. Half
    /// the memory, of which the system can take back what it needs; slower.
    AsSaved,
    /// [`Storage::AsSaved`] for a model on a CPU of which an f32 copy would take more than [`Storage::F32_BYTES_MAX`], else
    /// [`Storage::F32`]. For inference.
    Automatic,
}

impl Storage {
    /// The largest model that [`Storage::Automatic`] holds in f32.
    pub const F32_BYTES_MAX: usize = 4 << 30;

    /// Whether matrices of a model of `specs` that are saved in 16 bits stay so.
    fn keeps_half(self, specs: &[Spec], device: &Device) -> bool {
        match self {
            Storage::F32 => false,
            Storage::AsSaved => true,
            Storage::Automatic => {
                let values = specs.iter().map(|spec| spec.dims.iter().product::<usize>()).sum::<usize>();
                is_cpu(device) && values > Self::F32_BYTES_MAX / size_of::<f32>()
            }
        }
    }
}

/// Whether a file of a model's folder holds weights, in whatever format.
fn is_weight_file(name: &str) -> bool {
    const ENDINGS: [&str; 9] =
        [SAFETENSORS, ".safetensors.index.json", ".bin", ".bin.index.json", ".pt", ".pth", ".gguf", ".h5", ".msgpack"];
    ENDINGS.iter().any(|ending| name.ends_with(ending))
}
