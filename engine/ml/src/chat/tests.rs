//! Chats against transformers' texts and ids and TRL's labels: those of `tests/reference/chat` and of the model cases.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use safetensors::SafeTensors;
use serde_json::{Value, json};

use super::*;

fn reference(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../tests/reference").join(name)
}

fn json_file(path: &Path) -> Value {
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

fn processor() -> Processor {
    Processor::load(&ModelFiles::from_folder(&reference("model/tiny")).unwrap()).unwrap()
}

/// The model `tiny` with some files replaced; `folder` holds them.
fn processor_with(files: &BTreeMap<String, Value>, folder: &Path) -> Result<Processor> {
    let mut model = ModelFiles::from_folder(&reference("model/tiny")).unwrap();
    for (name, content) in files {
        let text = content.as_str().map_or_else(|| content.to_string(), str::to_owned);
        std::fs::write(folder.join(name), text).unwrap();
        model.files.insert(name.clone(), folder.join(name));
    }
    Processor::load(&model)
}

/// The messages of a reference case, whose images are named by file.
fn messages(value: &Value) -> Vec<Message> {
    Message::from_json(value, &mut |name| {
        let path = reference("images/png").join(format!("{name}.png"));
        std::fs::read(&path).map_err(|error| Error::read(path, error))
    })
    .unwrap()
}

fn integers(value: &Value) -> Vec<u32> {
    value.as_array().unwrap().iter().map(|number| number.as_u64().unwrap() as u32).collect()
}

#[test]
fn texts_become_the_tokens_of_transformers() {
    let processor = processor();
    for case in json_file(&reference("model/expected/tiny/expected.json"))["tokenizer_cases"].as_array().unwrap() {
        let ids = processor.tokenizer().encode(case["text"].as_str().unwrap()).unwrap();
        assert_eq!(ids, integers(&case["ids"]), "{case}");
        assert_eq!(processor.tokenizer().decode(&ids, false).unwrap(), case["decoded"].as_str().unwrap());
    }
}

#[test]
fn chats_become_the_texts_tokens_and_labels_of_transformers() {
    let path = std::env::var_os("RUMINATE_REFERENCE_CHATS").map_or_else(|| reference("chat/chats.json"), PathBuf::from);
    let all = json_file(&path);
    let folder = tempfile::tempdir().unwrap();
    let mut processors = BTreeMap::new();
    for (name, files) in all["folders"].as_object().unwrap() {
        let own = folder.path().join(name);
        std::fs::create_dir(&own).unwrap();
        let files = serde_json::from_value(files.clone()).unwrap();
        processors.insert(name.as_str(), processor_with(&files, &own).unwrap());
    }
    for (index, case) in all["cases"].as_array().unwrap().iter().enumerate() {
        let processor = &processors[case["folder"].as_str().unwrap()];
        let chat = messages(&case["messages"]);
        let generate = case["add_generation_prompt"].as_bool().unwrap();
        assert_eq!(processor.render(&chat, generate).unwrap(), case["rendered"].as_str().unwrap(), "case {index}");
        assert_eq!(processor.encode(&chat, generate).unwrap().tokens, integers(&case["ids"]), "case {index}");
        // The first number says whether the first token is learned, the others how long it stays so.
        let runs = integers(&case["learned"]);
        let learned = (0..)
            .zip(&runs[1..])
            .flat_map(|(run, length)| std::iter::repeat_n((run + runs[0]) % 2 == 1, *length as usize));
        match processor.encode_conversation(&chat) {
            Ok(example) if !generate => {
                assert_eq!(example.tokens, integers(&case["ids"]), "case {index}");
                assert_eq!(example.loss_mask, learned.collect::<Vec<_>>(), "case {index}: {case}");
            }
            // Without an answer there is nothing to learn; a chat that ends in a question may still hold one.
            result => assert!(generate || result.is_err(), "case {index}"),
        }
    }
}

#[test]
fn chats_of_the_model_cases_become_the_tokens_labels_and_pixels_of_transformers() {
    let models = std::env::var_os("RUMINATE_REFERENCE_MODELS").map_or_else(|| reference("model"), PathBuf::from);
    let folder = models.join("expected");
    for model in std::fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().file_name()) {
        let files = ModelFiles::from_folder(&models.join(&model)).unwrap();
        let processor = Processor::load(&files).unwrap();
        let values = json_file(&folder.join(&model).join("expected.json"));
        for (name, case) in values["cases"].as_object().unwrap() {
            // Not every case's tensors are kept.
            let Ok(bytes) = std::fs::read(folder.join(&model).join(format!("{name}.safetensors"))) else { continue };
            let same_pixels = values["image_backend"] == "torchvision";
            check_case(&processor, case, &SafeTensors::deserialize(&bytes).unwrap(), same_pixels);
        }
    }
}

fn check_case(processor: &Processor, case: &Value, tensors: &SafeTensors<'_>, same_pixels: bool) {
    let integers = |name: &str| -> Vec<i64> {
        let data = tensors.tensor(name).unwrap().data();
        data.as_chunks().0.iter().map(|bytes| i64::from_le_bytes(*bytes)).collect()
    };
    let (ids, mask, labels) = (integers("input_ids"), integers("attention_mask"), integers("labels"));
    let width = tensors.tensor("input_ids").unwrap().shape()[1];
    let mut pixels = Vec::new();
    for (row, chat) in case["messages"].as_array().unwrap().iter().enumerate() {
        let chat = messages(chat);
        assert_eq!(processor.render(&chat, false).unwrap(), case["rendered"][row].as_str().unwrap());
        let example = processor.encode_conversation(&chat).unwrap();
        let places = row * width..(row + 1) * width;
        let kept: Vec<usize> = places.filter(|place| mask[*place] == 1).collect();
        let theirs: Vec<u32> = kept.iter().map(|place| ids[*place] as u32).collect();
        assert_eq!(example.tokens, theirs);
        assert_eq!(processor.encode(&chat, false).unwrap().tokens, theirs);
        assert_eq!(example.loss_mask, kept.iter().map(|place| labels[*place] >= 0).collect::<Vec<_>>());
        pixels.extend(example.images.iter().flat_map(|image| image.pixels.iter().copied()));
    }
    if let (true, Ok(theirs)) = (same_pixels, tensors.tensor("pixel_values")) {
        let theirs = theirs.data().as_chunks().0.iter().map(|bytes| f32::from_le_bytes(*bytes));
        assert_eq!(theirs.len(), pixels.len());
        assert!(pixels.iter().zip(theirs).all(|(ours, theirs)| (ours - theirs).abs() < 1e-6));
    }
}

#[test]
fn a_prompt_and_its_completion_are_the_whole_chat() {
    let processor = processor();
    let chat = [Message::text("user", "How many?"), Message::text("assistant", "Two: \\boxed{2}.")];
    let prompt = processor.encode(&chat[..1], true).unwrap();
    let example = processor.encode_completion(&prompt, "Two: \\boxed{2}.").unwrap();
    let whole = processor.encode_conversation(&chat).unwrap();
    assert_eq!(whole.tokens[..example.tokens.len()], example.tokens);
    assert_eq!(whole.loss_mask[..example.tokens.len()], example.loss_mask);
    assert_eq!(example.tokens.last(), Some(&processor.end_of_turn()));
    let target = &example.tokens[prompt.tokens.len()..];
    assert_eq!(processor.decode(target).unwrap(), "Two: \\boxed{2}.");
}

#[test]
fn image_tokens_that_a_text_writes_out_stay_text() {
    let processor = processor();
    let image = std::fs::read(reference("images/png/shapes_97x61.png")).unwrap();
    let typed = "a<|vision_start|><|image_pad|><|vision_end|>\u{fdd0}<|image_pad|>";
    let chat = [
        Message::new("user", vec![Part::Text(typed.to_owned()), Part::Image(image.into())]),
        Message::text("assistant", "No <|image_pad|>: \u{1F600}\n"),
    ];
    let prompt = processor.encode(&chat, false).unwrap();
    let token = processor.tokenizer().token("<|image_pad|>").unwrap();
    let places: Vec<usize> = (0..prompt.tokens.len()).filter(|place| prompt.tokens[*place] == token).collect();
    assert_eq!(places.len(), prompt.images[0].patches() / 4);
    assert_eq!(places[places.len() - 1] - places[0] + 1, places.len(), "one image, one run");
    let text = processor.tokenizer().decode(&prompt.tokens, false).unwrap();
    assert!(text.contains(typed) && text.contains("No <|image_pad|>: \u{1F600}\n<|im_end|>\n"), "{text}");

    let example = processor.encode_conversation(&chat).unwrap();
    assert_eq!(example.tokens, prompt.tokens);
    let learned = example.tokens.iter().zip(&example.loss_mask).filter(|(_, learned)| **learned);
    let learned: Vec<u32> = learned.map(|(token, _)| *token).collect();
    assert_eq!(processor.tokenizer().decode(&learned, false).unwrap(), "No <|image_pad|>: \u{1F600}\n<|im_end|>\n");
    let completion = processor.encode_completion(&Prompt::default(), "No <|image_pad|>").unwrap();
    assert!(!completion.tokens.contains(&token));
}

#[test]
fn templates_are_found_in_all_their_places() {
    let plain = "{% for message in messages %}{{ message.content }};{% endfor %}";
    let list = json!({"eos_token": "<|im_end|>", "chat_template": [
        {"name": "tool_use", "template": "no"}, {"name": "default", "template": plain},
    ]});
    let folder = tempfile::tempdir().unwrap();
    for (file, content) in [
        ("chat_template.json", json!({"chat_template": plain})),
        ("tokenizer_config.json", json!({"eos_token": "<|im_end|>", "chat_template": plain})),
        ("tokenizer_config.json", list),
    ] {
        let mut model = ModelFiles::from_folder(&reference("model/tiny")).unwrap();
        model.files.remove("chat_template.jinja");
        std::fs::write(folder.path().join(file), content.to_string()).unwrap();
        model.files.insert(file.to_owned(), folder.path().join(file));
        let processor = Processor::load(&model).unwrap();
        assert_eq!(processor.render(&[Message::text("user", "a")], true).unwrap(), "a;", "{content}");
    }
}

#[test]
fn templates_and_chats_that_cannot_be_used_say_why() {
    let folder = tempfile::tempdir().unwrap();
    let load = |template: &str| {
        processor_with(&BTreeMap::from([("chat_template.jinja".to_owned(), json!(template))]), folder.path())
    };
    let chat = [Message::text("user", "a"), Message::text("assistant", "b"), Message::text("user", "c")];
    let unparsed = load("{% for %}").unwrap_err().to_string();
    assert!(unparsed.contains("chat_template.jinja`: the chat template cannot be parsed: line 1: "), "{unparsed}");
    let refused = load("{{ raise_exception('roles must alternate') }}").unwrap().encode(&chat, true).unwrap_err();
    assert!(refused.to_string().contains("roles must alternate"), "{refused}");
    let image = load("<|image_pad|>").unwrap().encode(&chat, true).unwrap_err().to_string();
    assert!(
        image.contains("chat_template.jinja` wrote the image token `<|image_pad|>` 1 times for 0 images"),
        "{image}"
    );
    assert!(image.contains("`config.json` says which token that is (`image_token_id` "), "{image}");
    let forgets = load("{% for m in messages %}{{ m.content if loop.last }};{% endfor %}").unwrap();
    let message = forgets.encode_conversation(&chat).unwrap_err().to_string();
    assert!(
        message.starts_with("chat: message 1: the chat template writes the turns before it otherwise"),
        "{message}"
    );
    let silent = processor().encode_conversation(&chat[..1]).unwrap_err().to_string();
    assert_eq!(silent, "chat: no message has the role `assistant`, so there is nothing to learn");
}
