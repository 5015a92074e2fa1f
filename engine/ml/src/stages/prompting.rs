//! From a record to a model's prompt: the options `prompt`, `system`, `image` and `max-pixels`, which every kind here has.

use std::sync::Arc;

use ruminate_flow::error::StageError;
use ruminate_flow::model::ModelTraits;
use ruminate_flow::options::{OptionKind, OptionSpec};
use ruminate_flow::record::{FieldKind, Record, Value};
use ruminate_flow::stage::{Blobs, Complaint, Reads};
use ruminate_flow::template::Template;
use serde_json::{Value as Json, json};

use crate::Error;
use crate::chat::Processor;
use crate::types::{ImagePatches, Message, Part, Prompt};

/// The user's turn for a model that takes images. OpenVLThinker's sampler gives the problem as it stands, without a system
/// prompt; the same text serves sampling, training and evaluation, where the original has three.
pub(super) const VISION_PROMPT: &str = "{{ question }}";

/// The user's turn for a text model, which reads the caption in place of the image. OpenVLThinker did not publish its own.
pub(super) const TEXT_PROMPT: &str = "Image description: {{ caption }}\n\nQuestion: {{ question }}\n\nThink step by step \
inside <think> and </think>, then give the final answer inside <answer> and </answer>.";

pub(super) const PROMPT: OptionSpec = OptionSpec::new(
    "prompt",
    OptionKind::Template,
    "null",
    "The user's turn, a template over the record's fields. Default: `{{ question }}` for a model that takes images, as \
     in OpenVLThinker; the caption, the question and the form of the answer for a text model.",
);
pub(super) const SYSTEM: OptionSpec = OptionSpec::new(
    "system",
    OptionKind::Template,
    "null",
    "The system turn, a template. Default: none is given, so the model's chat template decides.",
);
pub(super) const IMAGE: OptionSpec = OptionSpec::new(
    "image",
    OptionKind::Text,
    "\"image\"",
    "The field with the image, which stands before the prompt; an empty text for none. Unused with a text model.",
);
pub(super) const MAX_PIXELS: OptionSpec = OptionSpec::new(
    "max-pixels",
    OptionKind::Int { min: 1, max: 1 << 30 },
    "262144",
    "Images of more pixels are scaled down. 262144 is OpenVLThinker's; a checkpoint's own bounds stay in force.",
);

/// The options above as a stage reads them.
#[derive(Clone, Debug, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) struct PromptOptions {
    prompt: Option<String>,
    system: Option<String>,
    image: String,
    max_pixels: usize,
}

/// Turns records into prompts.
pub(super) struct Prompting {
    prompt: Template,
    system: Option<Template>,
    image: Option<String>,
    max_pixels: usize,
    source: String,
}

impl Prompting {
    /// From the options and the model's traits. `defaults`: the prompt for a model with and without vision.
    pub(super) fn new(
        options: &PromptOptions,
        traits: &ModelTraits,
        defaults: (&str, &str),
    ) -> Result<Self, Vec<Complaint>> {
        let parse = |option: &str, source: &str| {
            Template::parse(source).map_err(|message| vec![Complaint::about(option, message)])
        };
        let default = if traits.vision { defaults.0 } else { defaults.1 };
        let source = options.prompt.clone().unwrap_or_else(|| default.to_owned());
        Ok(Self {
            prompt: parse("prompt", &source)?,
            system: options.system.as_deref().map(|source| parse("system", source)).transpose()?,
            image: (traits.vision && !options.image.is_empty()).then(|| options.image.clone()),
            max_pixels: options.max_pixels,
            source,
        })
    }

    /// What the default of `prompt` came to: part of the key, since the default may change with the program.
    pub(super) fn identity(&self) -> Json {
        json!({ "prompt": self.source })
    }

    /// The fields that prompts read.
    pub(super) fn reads(&self) -> Reads {
        let mut reads = Reads::default();
        for (template, option) in [(Some(&self.prompt), "prompt"), (self.system.as_ref(), "system")] {
            for field in template.iter().flat_map(|template| template.fields()) {
                reads = reads.require(field, FieldKind::Json, Some(option));
            }
        }
        match &self.image {
            Some(field) => reads.require(field, FieldKind::Image, Some("image")),
            None => reads,
        }
    }

    /// The processor with this stage's bound on pixels.
    pub(super) fn bound(&self, processor: Processor) -> Processor {
        processor.with_max_pixels(self.max_pixels)
    }

    /// The prompt of `record`, up to where the assistant begins.
    ///
    /// # Errors
    /// Why the record cannot be used. The text does not name it: equal causes read alike, so that they can be counted.
    pub(super) fn encode(&self, record: &Record, processor: &Processor, blobs: &dyn Blobs) -> Result<Prompt, String> {
        let mut content = Vec::new();
        if let Some((_, bytes)) = self.image_file(record, blobs)? {
            content.push(Part::Image(bytes.into()));
        }
        content.push(Part::Text(self.prompt.render(record)?));
        let mut messages = Vec::new();
        if let Some(system) = &self.system {
            messages.push(Message::text("system", system.render(record)?));
        }
        messages.push(Message::new("user", content));
        let prompt = processor.encode(&messages, true).map_err(|error| match (&self.image, &error) {
            (Some(field), Error::Image { message }) => format!("field `{field}`: {message}"),
            _ => error.to_string(),
        })?;
        let most = processor.max_positions();
        if prompt.tokens.len() >= most {
            return Err(format!("the prompt leaves no room for an answer in the model's {most} tokens"));
        }
        Ok(prompt)
    }

    /// The images of [`Prompting::encode`] alone.
    ///
    /// # Errors
    /// As [`Prompting::encode`].
    pub(super) fn images(
        &self,
        record: &Record,
        processor: &Processor,
        blobs: &dyn Blobs,
    ) -> Result<Vec<Arc<ImagePatches>>, String> {
        let Some((field, bytes)) = self.image_file(record, blobs)? else { return Ok(Vec::new()) };
        let image = processor.process_image(&bytes).map_err(|error| format!("field `{field}`: {error}"))?;
        Ok(vec![Arc::new(image)])
    }

    /// The bytes of the record's image, with the field that names it; nothing if prompts show none.
    fn image_file(&self, record: &Record, blobs: &dyn Blobs) -> Result<Option<(&str, Vec<u8>)>, String> {
        let Some(field) = self.image.as_deref() else { return Ok(None) };
        match record.fields.get(field) {
            // A problem without an image is a text problem: mixed corpora have both.
            Some(Value::Null) => Ok(None),
            Some(Value::Blob(blob)) => match blobs.get(blob) {
                Ok(bytes) => Ok(Some((field, bytes))),
                Err(error) => Err(format!("field `{field}`: {error}")),
            },
            Some(other) => Err(format!("field `{field}` holds `{}`, expected an image", FieldKind::of(other))),
            None => Err(format!("field `{field}` is missing, expected an image")),
        }
    }
}

/// The error of a stage that cannot do without `record`.
pub(super) fn unusable(record: &Record, reason: impl std::fmt::Display) -> StageError {
    StageError::failed(format!(
        "record `{}`: {reason}; mend it at its source, or leave it out with a filter above this node",
        record.id
    ))
}

/// A field as the text that is graded or learned: numbers and truth values print as in JSON.
///
/// # Errors
/// What the field holds instead, without the record's name.
pub(super) fn field_text(record: &Record, field: &str) -> Result<String, String> {
    match record.fields.get(field) {
        Some(Value::Text(text)) => Ok(text.to_string()),
        Some(Value::Int(value)) => Ok(value.to_string()),
        Some(Value::Float(value)) => Ok(value.to_string()),
        Some(Value::Bool(value)) => Ok(value.to_string()),
        other => {
            let found = match other {
                None | Some(Value::Null) => "nothing".to_owned(),
                Some(value) => format!("`{}`", FieldKind::of(value)),
            };
            Err(format!("field `{field}` holds {found}, expected text, a number or a truth value"))
        }
    }
}
