//! `model logits` agrees with transformers on the whole way from a chat to logits, and `model info` tells the sizes.
//!
//! The references of case c2 took their pixels from Pillow 13, the program resizes as torchvision does, transformers' default:
//! the two differ by up to 21/255 at an edge, which moves c2's logits by up to 0.06: hence its tolerance here. From the reference's own
//! pixels the logits agree within 1e-4, and the resized pixels equal torchvision's to the byte: both are tested in `engine/ml`.

use safetensors::SafeTensors;
use serde_json::{Value as Json, json};

use crate::support::{Workplace, root};

#[test]
fn the_logits_of_chats_equal_those_of_transformers() {
    check("tiny", "c1_text", 1e-4);
    check("tiny", "c2_one_odd", 1e-1);
    // From torchvision's pixels.
    check("vision_nested", "one", 1e-4);
}

fn check(model: &str, case: &str, tolerance: f32) {
    let workplace = Workplace::new();
    let reference = root().join("tests/reference/model");
    let expected = reference.join("expected").join(model);
    let text = std::fs::read_to_string(expected.join("expected.json")).expect("the reference is there");
    let golden: Json = serde_json::from_str(&text).expect("the reference is JSON");
    let messages = openai(&golden["cases"][case]["messages"][0]);
    let messages = workplace.write("messages.json", &messages.to_string());
    let out = workplace.path("logits.safetensors");
    let model = reference.join(model);
    let paths = [model.to_str().unwrap(), messages.to_str().unwrap(), out.to_str().unwrap()];
    workplace.ruminate(&["model", "logits", paths[0], paths[1], "-o", paths[2]]).expect(0);

    let expected = std::fs::read(expected.join(format!("{case}.safetensors"))).expect("the reference is there");
    let given = std::fs::read(&out).expect("the program wrote the logits");
    let (expected, given) = (SafeTensors::deserialize(&expected).unwrap(), SafeTensors::deserialize(&given).unwrap());
    assert_eq!(expected.tensor("input_ids").unwrap().data(), given.tensor("input_ids").unwrap().data(), "token ids");
    let (expected, given) = (floats(&expected, "logits"), floats(&given, "logits"));
    assert_eq!(expected.len(), given.len());
    let worst = expected.iter().zip(&given).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
    assert!(worst <= tolerance, "the logits of {case} differ by up to {worst}");
}

/// The reference's messages name images; the program takes the OpenAI form with paths.
fn openai(messages: &Json) -> Json {
    let part = |part: &Json| match part["type"].as_str() {
        Some("image") => {
            let path = root().join(format!("tests/reference/images/png/{}.png", part["image"].as_str().unwrap()));
            json!({ "type": "image_url", "image_url": { "url": path } })
        }
        _ => part.clone(),
    };
    let message = |message: &Json| match message["content"].as_array() {
        Some(parts) => json!({ "role": message["role"], "content": parts.iter().map(part).collect::<Vec<_>>() }),
        None => message.clone(),
    };
    Json::Array(messages.as_array().unwrap().iter().map(message).collect())
}

fn floats(file: &SafeTensors<'_>, name: &str) -> Vec<f32> {
    let tensor = file.tensor(name).unwrap();
    tensor.data().chunks_exact(4).map(|bytes| f32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]])).collect()
}

#[test]
fn one_picture_gives_the_same_logits_in_every_format() {
    let workplace = Workplace::new();
    let model = root().join("tests/reference/model/tiny");
    let [png, others @ ..] = ["png", "bmp", "gif", "webp"].map(|format| {
        let url = root().join(format!("tests/reference/images/formats/same.{format}"));
        let part = json!({"type": "image_url", "image_url": {"url": url}});
        let messages = workplace.write("messages.json", &json!([{"role": "user", "content": [part]}]).to_string());
        let out = workplace.path(&format!("{format}.safetensors"));
        let paths = [model.to_str().unwrap(), messages.to_str().unwrap(), out.to_str().unwrap()];
        workplace.ruminate(&["model", "logits", paths[0], paths[1], "-o", paths[2]]).expect(0);
        std::fs::read(&out).expect("the program wrote the logits")
    });
    assert!(others.iter().all(|other| *other == png));
}

#[test]
fn a_chat_that_cannot_be_used_says_where_and_what_was_expected() {
    let workplace = Workplace::new();
    let model = root().join("tests/reference/model/tiny");
    let image = |url: &str| {
        json!([{"role": "user", "content": [
            {"type": "text", "text": "a"}, {"type": "image_url", "image_url": {"url": url}},
        ]}])
    };
    let png = |bytes: &str| image(&format!("data:image/png;base64,{bytes}"));
    for (chat, expected) in [
        (json!({"role": "user"}), "expected a JSON array of messages"),
        (json!([]), "the chat holds no message"),
        (json!([{"content": "a"}]), "message 0 has no text field `role`"),
        (json!([{"role": "user", "content": 1}]), "message 0: expected `content` as a text or an array of parts"),
        (
            json!([{"role": "user", "content": [{"type": "audio"}]}]),
            "part 0 of message 0: expected `{\"type\": \"text\"",
        ),
        (image("gone.png"), "part 1 of message 0: cannot read `"),
        #[cfg(target_os = "linux")]
        (image("/dev/zero"), "it is longer than 512 MiB, which no image is"),
        (image("https://example.org/a.png"), "part 1 of message 0: `https://example.org/a.png` is on the network"),
        (image("data:image/png,abc"), "part 1 of message 0: the data URI begins with `data:image/png`"),
        (image("data:image/png;base64"), "part 1 of message 0: the data URI has no comma"),
        (png("!!!"), "part 1 of message 0: the data URI is damaged"),
        (png("aGVsbG8="), "part 1 of message 0: the bytes are no image file, expected PNG, JPEG, WebP, GIF or BMP"),
        (png("iVBORw0KGgo="), "part 1 of message 0: the PNG file is damaged or truncated"),
    ] {
        let messages = workplace.write("messages.json", &chat.to_string());
        let out = workplace.path("logits.safetensors");
        let paths = [model.to_str().unwrap(), messages.to_str().unwrap(), out.to_str().unwrap()];
        let ran = workplace.ruminate(&["model", "logits", paths[0], paths[1], "-o", paths[2]]).expect(2);
        assert!(ran.stderr.contains(expected), "{chat}: {}", ran.stderr);
        assert!(!out.exists(), "{chat}");
    }
}

/// A link leads on, a pipe is read, a device stays what it is.
#[test]
#[cfg(unix)]
fn logits_go_where_links_and_pipes_lead() {
    use std::os::unix::fs::{FileTypeExt, symlink};
    let workplace = Workplace::new();
    let model = root().join("tests/reference/model/tiny");
    let chat = workplace.write("chat.json", &json!([{"role": "user", "content": "a"}]).to_string());
    let paths = [model.to_str().unwrap(), chat.to_str().unwrap()];
    let logits = |out: &str| ["model", "logits", paths[0], paths[1], "-o", out].map(str::to_owned);
    let run = |out: &str| workplace.ruminate(&logits(out).each_ref().map(String::as_str)).expect(0);
    let (link, file, pipe) = (workplace.path("link"), workplace.path("file"), workplace.path("pipe"));
    symlink("file", &link).expect("the folder can be written");
    run(link.to_str().unwrap());
    let expected = std::fs::read(&file).expect("the link leads to it");
    assert!(link.is_symlink() && expected.len() > 1000);
    assert!(std::process::Command::new("mkfifo").arg(&pipe).status().expect("mkfifo runs").success());
    let reader = std::thread::spawn({
        let pipe = pipe.clone();
        move || std::fs::read(pipe).expect("the pipe is read")
    });
    run(pipe.to_str().unwrap());
    assert!(reader.join().expect("it is read to its end") == expected);
    assert!(std::fs::metadata(&pipe).expect("it is there").file_type().is_fifo());
    run("/dev/null");
    assert!(std::fs::metadata("/dev/null").expect("it is there").file_type().is_char_device());
    let mut command = workplace.command(&logits("/dev/stdout").each_ref().map(String::as_str));
    assert!(command.output().expect("the program starts").stdout == expected);
}

#[test]
fn the_sizes_of_a_model_are_told_with_and_without_weights() {
    let workplace = Workplace::new();
    let model = root().join("tests/reference/model/tiny");
    let told = workplace.ruminate(&["model", "info", model.to_str().unwrap(), "--json"]).expect(0).json();
    let total = told["parameters"]["total"].as_u64().unwrap();
    assert_eq!(told["dtypes"], json!({ "F32": total }));
    assert_eq!(told["text_model"]["heads"], 4);
    assert_eq!((&told["weights"], &told["vision"], &told["context"]), (&json!(true), &json!(true), &json!(2048)));
    assert_eq!(told["kv_cache_bytes_per_1000_tokens"]["bf16"], 1000 * 2 * (2 * 2 * 2 * 16));
    let full = told["memory"].as_array().unwrap().iter().find(|need| need["for"] == "full training").unwrap();
    assert_eq!(full["bytes"], 16 * total);

    std::fs::copy(model.join("config.json"), workplace.path("config.json")).unwrap();
    let bare = workplace.path("");
    let bare = bare.to_str().unwrap();
    let again = workplace.ruminate(&["model", "info", bare, "--json"]).expect(0).json();
    assert_eq!((&again["parameters"], &again["weights"]), (&told["parameters"], &json!(false)));
    let text = workplace.ruminate(&["model", "info", bare]).expect(0).stdout;
    assert!(text.contains("no weights") && text.contains("full training"), "{text}");
    std::fs::remove_file(workplace.path("config.json")).unwrap();
    let ran = workplace.ruminate(&["model", "info", bare]).expect(2);
    assert!(ran.stderr.contains("no `config.json`"), "{}", ran.stderr);
}
