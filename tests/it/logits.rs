//! `model logits` agrees with transformers on the whole way from a chat to logits.
//!
//! The references of case c2 took their pixels from Pillow 13, the program resizes as torchvision does, transformers' default:
//! the two differ by up to 21/255 at an edge, which moves c2's logits by up to 0.06: hence its tolerance here. From the reference's own
//! pixels the logits agree within 1e-4, and the resized pixels equal torchvision's to the byte: both are tested in `engine/ml`.

use safetensors::SafeTensors;
use serde_json::{Value as Json, json};

use crate::support::{Workplace, root};

#[test]
fn the_logits_of_a_text_chat_equal_those_of_transformers() {
    check("c1_text", 1e-4);
}

#[test]
fn the_logits_of_a_chat_with_an_image_equal_those_of_transformers() {
    check("c2_one_odd", 1e-1);
}

fn check(case: &str, tolerance: f32) {
    let workplace = Workplace::new();
    let reference = root().join("tests/reference/model");
    let text = std::fs::read_to_string(reference.join("expected/tiny/expected.json")).expect("the reference is there");
    let golden: Json = serde_json::from_str(&text).expect("the reference is JSON");
    let messages = openai(&golden["cases"][case]["messages"][0]);
    let messages = workplace.write("messages.json", &messages.to_string());
    let out = workplace.path("logits.safetensors");
    let model = reference.join("tiny");
    let paths = [model.to_str().unwrap(), messages.to_str().unwrap(), out.to_str().unwrap()];
    workplace.ruminate(&["model", "logits", paths[0], paths[1], "-o", paths[2]]).expect(0);

    let expected =
        std::fs::read(reference.join(format!("expected/tiny/{case}.safetensors"))).expect("the reference is there");
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
