//! The data that passes between the parts of the crate: messages, prompts, examples, and where a model's files lie.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde_json::{Map, Value};

use crate::{Error, Result};

/// One turn of a chat.
#[derive(Clone, Debug, PartialEq)]
pub struct Message {
    /// `system`, `user`, `assistant`, or another role that the chat template knows.
    pub role: String,
    /// What is said.
    pub content: Content,
    /// The message's other fields (`tool_calls`, `reasoning_content`, ...), which templates may read. Where `role` and
    /// `content` stand among them, their values are in the fields above.
    pub fields: Map<String, Value>,
}

/// What a message says. Templates may treat a text and a list of one text differently, so both are kept as they are.
#[derive(Clone, Debug, PartialEq)]
pub enum Content {
    /// No such field, as in some messages that call tools.
    Absent,
    /// `null`, as in some messages that call tools.
    Null,
    /// Plain text.
    Text(String),
    /// Text and images in reading order.
    Parts(Vec<Part>),
}

/// A piece of a message.
#[derive(Clone, Debug, PartialEq)]
pub enum Part {
    /// Plain text.
    Text(String),
    /// An image as an encoded file: PNG, JPEG, WebP, GIF or BMP.
    Image(Arc<[u8]>),
}

impl Message {
    /// A message of plain text.
    pub fn text(role: impl Into<String>, text: impl Into<String>) -> Self {
        Message { role: role.into(), content: Content::Text(text.into()), fields: Map::new() }
    }

    /// A message of parts; without images it is plain text.
    pub fn new(role: impl Into<String>, parts: Vec<Part>) -> Self {
        let text = |part: &Part| match part {
            Part::Text(text) => Some(text.clone()),
            Part::Image(_) => None,
        };
        let content = match parts.iter().map(text).collect::<Option<String>>() {
            Some(text) => Content::Text(text),
            None => Content::Parts(parts),
        };
        Message { role: role.into(), content, fields: Map::new() }
    }

    /// The image files of the message in reading order.
    pub fn images(&self) -> impl Iterator<Item = &Arc<[u8]>> {
        let parts = match &self.content {
            Content::Parts(parts) => parts.as_slice(),
            _ => &[],
        };
        parts.iter().filter_map(|part| match part {
            Part::Image(file) => Some(file),
            Part::Text(_) => None,
        })
    }

    /// Reads an array of chat messages in the OpenAI form. `load` turns the `url` of an `image_url` part (a path or a
    /// data URI) into the bytes of the image file.
    ///
    /// # Errors
    /// Names the message and part that has another form.
    pub fn from_json(messages: &Value, load: &mut dyn FnMut(&str) -> Result<Vec<u8>>) -> Result<Vec<Message>> {
        let list = messages
            .as_array()
            .ok_or_else(|| Error::chat("expected a JSON array of messages with `role` and `content`"))?;
        list.iter().enumerate().map(|(index, message)| Self::one_from_json(index, message, load)).collect()
    }

    fn one_from_json(index: usize, message: &Value, load: &mut dyn FnMut(&str) -> Result<Vec<u8>>) -> Result<Message> {
        let role = message
            .get("role")
            .and_then(Value::as_str)
            .ok_or_else(|| Error::chat(format!("message {index} has no text field `role`")))?;
        let mut fields = message.as_object().cloned().unwrap_or_default();
        // A message without content says something only by its other fields.
        let says_more = fields.iter().any(|(name, value)| name != "role" && name != "content" && !value.is_null());
        let content = match message.get("content") {
            Some(Value::String(text)) => Content::Text(text.clone()),
            Some(Value::Array(parts)) => Content::Parts(
                parts
                    .iter()
                    .enumerate()
                    .map(|(part, value)| Part::one_from_json(index, part, value, load))
                    .collect::<Result<_>>()?,
            ),
            Some(Value::Null) if says_more => Content::Null,
            None if says_more => Content::Absent,
            _ => {
                return Err(Error::chat(format!(
                    "message {index}: expected `content` as a text or an array of parts, or another field beside `role`, \
                     such as `tool_calls`"
                )));
            }
        };
        for name in ["role", "content"] {
            if let Some(value) = fields.get_mut(name) {
                *value = Value::Null;
            }
        }
        Ok(Message { role: role.to_owned(), content, fields })
    }
}

/// An error with the part and the message that it came from.
fn in_part(error: &Error, part: usize, message: usize) -> Error {
    let reason = match error {
        Error::Chat { message } => message.clone(),
        other => other.to_string(),
    };
    Error::chat(format!("part {part} of message {message}: {reason}"))
}

impl Part {
    fn one_from_json(
        message: usize,
        index: usize,
        part: &Value,
        load: &mut dyn FnMut(&str) -> Result<Vec<u8>>,
    ) -> Result<Part> {
        let part = Part::from_json(part, load).map_err(|error| in_part(&error, index, message))?;
        part.ok_or_else(|| {
            Error::chat(format!(
                "part {index} of message {message}: expected `{{\"type\": \"text\", \"text\": ...}}` or \
                 `{{\"type\": \"image_url\", \"image_url\": {{\"url\": ...}}}}`"
            ))
        })
    }

    fn from_json(part: &Value, load: &mut dyn FnMut(&str) -> Result<Vec<u8>>) -> Result<Option<Part>> {
        let url = match part.get("type").and_then(Value::as_str) {
            Some("text") => {
                return Ok(part.get("text").and_then(Value::as_str).map(|text| Part::Text(text.to_owned())));
            }
            Some("image_url") => {
                let image = part.get("image_url");
                image.and_then(|image| image.get("url").or(Some(image))).and_then(Value::as_str)
            }
            Some("image") => part.get("image").and_then(Value::as_str),
            _ => None,
        };
        url.map(|url| Ok(Part::Image(load(url)?.into()))).transpose()
    }
}

/// An image as the vision tower takes it.
#[derive(Clone, Debug, PartialEq)]
pub struct ImagePatches {
    /// Normalised pixels, `[t * h * w, channels * temporal_patch * patch * patch]`, patches grouped by merge window.
    pub pixels: Vec<f32>,
    /// Frames, rows and columns of patches.
    pub grid: [usize; 3],
}

impl ImagePatches {
    /// The number of patches.
    pub fn patches(&self) -> usize {
        self.grid.iter().product()
    }
}

/// Where a training run gets the images of its items when a step needs them, so that not all of them lie in memory.
pub trait ImageSource {
    /// The images of item `index` in order of appearance; equal ones each time.
    ///
    /// # Errors
    /// When they cannot be had any more.
    fn images(&self, index: usize) -> Result<Vec<Arc<ImagePatches>>>;
}

/// Items that hold their images themselves.
impl ImageSource for Vec<Prompt> {
    fn images(&self, index: usize) -> Result<Vec<Arc<ImagePatches>>> {
        Ok(self.get(index).map(|prompt| prompt.images.clone()).unwrap_or_default())
    }
}

/// Items that hold their images themselves.
impl ImageSource for Vec<Example> {
    fn images(&self, index: usize) -> Result<Vec<Arc<ImagePatches>>> {
        Ok(self.get(index).map(|example| example.images.clone()).unwrap_or_default())
    }
}

/// A tokenised chat.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Prompt {
    /// Token ids; each image is as many `<|image_pad|>` as the vision tower gives features.
    pub tokens: Vec<u32>,
    /// The images in order of appearance.
    pub images: Vec<Arc<ImagePatches>>,
}

/// A tokenised chat with the tokens to be learned marked.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Example {
    /// Token ids, as in [`Prompt`].
    pub tokens: Vec<u32>,
    /// Whether the token at this place is a target (it is predicted from the place before it).
    pub loss_mask: Vec<bool>,
    /// The images in order of appearance.
    pub images: Vec<Arc<ImagePatches>>,
}

impl Example {
    /// A prompt followed by the tokens that are to be learned; nothing is decoded or encoded on the way.
    pub fn from_completion(prompt: &Prompt, completion: &[u32]) -> Self {
        let mut tokens = prompt.tokens.clone();
        tokens.extend_from_slice(completion);
        let loss_mask = (0..tokens.len()).map(|index| index >= prompt.tokens.len()).collect();
        Example { tokens, loss_mask, images: prompt.images.clone() }
    }
}

/// Where a model's files lie: the name in the model folder to the path on disk. The two differ for a model in the
/// content-addressed store, whose files are named by digest.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ModelFiles {
    /// File name in the folder to path on disk.
    pub files: BTreeMap<String, PathBuf>,
    /// A seed instead of weights: parameters are drawn at random and no safetensors file is read.
    pub init: Option<u64>,
}

impl ModelFiles {
    /// The plain files of a model folder; hidden files and subfolders are left out.
    ///
    /// # Errors
    /// When the folder cannot be listed.
    pub fn from_folder(folder: &Path) -> Result<Self> {
        let mut files = BTreeMap::new();
        for entry in std::fs::read_dir(folder).map_err(|error| Error::read(folder, error))? {
            let path = entry.map_err(|error| Error::read(folder, error))?.path();
            let Some(name) = path.file_name().and_then(|name| name.to_str()) else { continue };
            if path.is_file() && !name.starts_with('.') {
                files.insert(name.to_owned(), path.clone());
            }
        }
        Ok(ModelFiles { files, init: None })
    }

    /// The same files with random weights drawn from `seed`.
    #[must_use]
    pub fn with_init(mut self, seed: u64) -> Self {
        self.init = Some(seed);
        self
    }

    /// How errors name a file: by its path where that ends in the file's name. In the content-addressed store it does not.
    pub fn place(&self, name: &str) -> String {
        match self.files.get(name) {
            Some(path) if path.file_name().is_some_and(|last| last == name) => path.display().to_string(),
            _ => name.to_owned(),
        }
    }

    /// The bytes of a file, or nothing when the model has no such file.
    ///
    /// # Errors
    /// When the file is listed but cannot be read.
    pub fn read(&self, name: &str) -> Result<Option<Vec<u8>>> {
        let Some(path) = self.files.get(name) else { return Ok(None) };
        std::fs::read(path).map(Some).map_err(|error| Error::read(path, error))
    }

    /// The bytes of a file that `purpose` cannot do without.
    ///
    /// # Errors
    /// When it is missing or cannot be read.
    pub fn require(&self, name: &str, purpose: &str) -> Result<Vec<u8>> {
        self.read(name)?.ok_or_else(|| Error::MissingFile { file: name.to_owned(), purpose: purpose.to_owned() })
    }

    /// A file as JSON, or nothing when the model has no such file.
    ///
    /// # Errors
    /// When it cannot be read or is no JSON.
    pub fn read_json(&self, name: &str) -> Result<Option<Value>> {
        let Some(bytes) = self.read(name)? else { return Ok(None) };
        serde_json::from_slice(&bytes)
            .map(Some)
            .map_err(|error| Error::model_file(name, format!("expected JSON: {error}")))
    }
}
