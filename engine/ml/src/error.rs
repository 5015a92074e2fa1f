//! The errors of the crate: what was wrong, where, and what was expected.

use std::path::PathBuf;

/// The result of everything here that can fail.
pub type Result<T> = std::result::Result<T, Error>;

/// What can go wrong between a model folder, a request and a training step.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file could not be read.
    #[error("cannot read `{}`: {source}", path.display())]
    Read {
        /// Where the file lies.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// A file could not be written.
    #[error("cannot write `{}`: {source}", path.display())]
    Write {
        /// Where the file should go.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// A model folder lacks a file.
    #[error("the model has no `{file}`, which {purpose} needs: expected a folder in Hugging Face layout")]
    MissingFile {
        /// The file's name in the folder.
        file: String,
        /// What it is needed for.
        purpose: String,
    },
    /// A model file says something that cannot be used.
    #[error("`{file}`: {message}")]
    ModelFile {
        /// The file's name in the folder.
        file: String,
        /// The field, what it holds and what was expected.
        message: String,
    },
    /// Tensors are missing, left over, or of the wrong shape.
    #[error("the weights do not fit the model's `config.json`: {message}")]
    Weights {
        /// Every tensor that does not fit.
        message: String,
    },
    /// An image cannot be decoded or has a size that the model cannot take.
    #[error("image: {message}")]
    Image {
        /// What was wrong and what was expected.
        message: String,
    },
    /// Text cannot be turned into tokens or back.
    #[error("tokenizer: {message}")]
    Tokenizer {
        /// What was wrong and what was expected.
        message: String,
    },
    /// The chat template or the messages given to it.
    #[error("chat: {message}")]
    Chat {
        /// What was wrong and what was expected.
        message: String,
    },
    /// A batch that the model cannot take.
    #[error("model input: {message}")]
    Input {
        /// What was wrong and what was expected.
        message: String,
    },
    /// No such device in this build.
    #[error("device: {message}")]
    Device {
        /// What was asked for and what there is.
        message: String,
    },
    /// An option outside its range.
    #[error("option `{option}`: {message}")]
    Option {
        /// The option's name.
        option: String,
        /// What it held and what was expected.
        message: String,
    },
    /// A training step that cannot go on.
    #[error("training: {message}")]
    Training {
        /// The step, the quantity, what to try.
        message: String,
    },
    /// The caller asked to stop, and the work was given up.
    #[error("stopped on request before the work was done")]
    Stopped,
    /// The caller stopped the training; its progress was saved.
    #[error(
        "training was interrupted after step {step} of {steps}; its progress is saved, and the next run continues there"
    )]
    Interrupted {
        /// Steps done.
        step: usize,
        /// Steps of the whole training.
        steps: usize,
    },
    /// A saved training state that does not fit.
    #[error("training state: {message}")]
    State {
        /// What was found and what was expected.
        message: String,
    },
}

impl Error {
    /// A model file that cannot be used.
    pub fn model_file(file: impl Into<String>, message: impl Into<String>) -> Self {
        Error::ModelFile { file: shown(file), message: shown(message) }
    }

    /// Weights that do not fit.
    pub fn weights(message: impl Into<String>) -> Self {
        Error::Weights { message: shown(message) }
    }

    /// An image that cannot be used.
    pub fn image(message: impl Into<String>) -> Self {
        Error::Image { message: shown(message) }
    }

    /// A tokenizer failure.
    pub fn tokenizer(message: impl Into<String>) -> Self {
        Error::Tokenizer { message: shown(message) }
    }

    /// A chat template failure.
    pub fn chat(message: impl Into<String>) -> Self {
        Error::Chat { message: shown(message) }
    }

    /// A batch that the model cannot take.
    pub fn input(message: impl Into<String>) -> Self {
        Error::Input { message: shown(message) }
    }

    /// A device that this build does not have.
    pub fn device(message: impl Into<String>) -> Self {
        Error::Device { message: message.into() }
    }

    /// An option outside its range.
    pub fn option(option: impl Into<String>, message: impl Into<String>) -> Self {
        Error::Option { option: option.into(), message: message.into() }
    }

    /// A training step that cannot go on.
    pub fn training(message: impl Into<String>) -> Self {
        Error::Training { message: message.into() }
    }

    /// A saved training state that does not fit.
    pub fn state(message: impl Into<String>) -> Self {
        Error::State { message: shown(message) }
    }

    /// A file that could not be read.
    pub fn read(path: impl Into<PathBuf>, source: std::io::Error) -> Self {
        Error::Read { path: path.into(), source }
    }

    /// A file that could not be written.
    pub fn write(path: impl Into<PathBuf>, source: std::io::Error) -> Self {
        Error::Write { path: path.into(), source }
    }
}

/// A text for an error, in which a checkpoint's own words may stand: what would steer a terminal is written out.
fn shown(text: impl Into<String>) -> String {
    let text = text.into();
    // Control characters, and those that turn the direction of writing.
    let steers = |character: char| {
        (character.is_control() && character != '\n')
            || matches!(character, '\u{200E}' | '\u{200F}' | '\u{202A}'..='\u{202E}' | '\u{2066}'..='\u{2069}')
    };
    if !text.contains(steers) {
        return text;
    }
    let escape = |character: char| {
        if steers(character) { character.escape_default().collect() } else { String::from(character) }
    };
    text.chars().map(escape).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_steers_a_terminal_is_written_out() {
        let error = Error::chat("a\u{1b}[2Jb\u{7}\u{9b}\u{202e}\té\nc");
        assert_eq!(error.to_string(), "chat: a\\u{1b}[2Jb\\u{7}\\u{9b}\\u{202e}\\té\nc");
    }
}
