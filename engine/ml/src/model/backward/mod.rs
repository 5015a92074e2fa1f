//! The way back through the model, by hand: what a forward pass keeps, and the gradients of the parameters from those of the
//! final hidden states. Knows no loss.
//!
//! Automatic differentiation would keep every step between two products and pass over each several times; by hand a block
//! keeps eight tensors, or its input alone ([`Keep::Inputs`]) to be run once more when its turn comes. Both give the same bits:
//! the second run is the first again. Tests hold it against automatic differentiation and transformers.

mod block;
mod gradients;
mod text;
mod vision;

pub use self::gradients::ParameterGradients;
pub use self::text::TextKept;
pub use self::vision::ImagesKept;

/// What a forward pass keeps of each block for the way back.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Keep {
    /// What the way back needs.
    #[default]
    Everything,
    /// The block's input; the rest is computed once more. A third more work, for a fraction of the memory.
    Inputs,
}

#[cfg(test)]
mod tests;
