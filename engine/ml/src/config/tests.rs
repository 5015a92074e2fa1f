//! Published and re-saved configurations, and damaged ones.

use serde_json::json;

use super::*;

fn tiny() -> Value {
    json!({
        "model_type": "qwen2_5_vl", "hidden_size": 64, "intermediate_size": 112, "num_hidden_layers": 2,
        "num_attention_heads": 4, "num_key_value_heads": 2, "vocab_size": 512, "rms_norm_eps": 1e-6,
        "rope_scaling": {"type": "mrope", "mrope_section": [2, 3, 3]}, "torch_dtype": "bfloat16",
        "vision_config": {"hidden_size": 48, "num_heads": 3, "out_hidden_size": 64}
    })
}

fn text() -> Value {
    json!({
        "model_type": "qwen2", "hidden_size": 1536, "intermediate_size": 8960, "num_hidden_layers": 28,
        "num_attention_heads": 12, "num_key_value_heads": 2, "vocab_size": 151936
    })
}

/// `base` with the values at JSON pointers changed; null removes nothing, it stands there.
fn changed(base: Value, changes: &[(&str, Value)]) -> Value {
    let mut config = base;
    for (pointer, value) in changes {
        let (parent, name) = pointer.rsplit_once('/').unwrap();
        config.pointer_mut(parent).unwrap()[name] = value.clone();
    }
    config
}

fn without(base: Value, name: &str) -> Value {
    let mut config = base;
    config.as_object_mut().unwrap().remove(name);
    config
}

#[test]
fn nested_form_equals_flat_form() {
    let flat = ModelConfig::from_json(&tiny()).unwrap();
    let mut text = tiny();
    let vision = text.as_object_mut().unwrap().remove("vision_config").unwrap();
    let rope = text.as_object_mut().unwrap().remove("rope_scaling").unwrap();
    text["rope_parameters"] =
        json!({"rope_type": "default", "rope_theta": 1e6, "mrope_section": rope["mrope_section"]});
    text["layer_types"] = json!(["full_attention", "full_attention"]);
    text["model_type"] = json!("qwen2_5_vl_text");
    let nested = json!({"model_type": "qwen2_5_vl", "dtype": "bfloat16", "text_config": text, "vision_config": vision});
    assert_eq!(flat, ModelConfig::from_json(&nested).unwrap());
}

/// After transformers 5.23's `configuration_qwen2_5_vl.py` and `configuration_qwen2.py`.
#[test]
fn missing_fields_have_the_values_of_transformers() {
    let wide = changed(
        json!({
            "model_type": "qwen2_5_vl", "hidden_size": 3584, "intermediate_size": 18944, "num_hidden_layers": 28,
            "num_attention_heads": 28, "num_key_value_heads": 4, "vocab_size": 152_064, "vision_config": {}
        }),
        &[("/vision_config/in_chans", json!(1))],
    );
    let config = ModelConfig::from_json(&wide).unwrap();
    let vision = config.vision.unwrap();
    assert_eq!((vision.depth, vision.hidden_size, vision.intermediate_size, vision.heads), (32, 3584, 3420, 16));
    assert_eq!((vision.channels, vision.patch_size, vision.temporal_patch_size), (3, 14, 2));
    assert_eq!((vision.spatial_merge_size, vision.window_size, vision.out_hidden_size), (2, 112, 3584));
    assert_eq!(vision.full_attention_blocks, [7, 15, 23, 31]);
    assert_eq!((config.text.rms_norm_eps, config.text.rope_theta, config.text.tied), (1e-5, 1e6, false));
    assert_eq!((config.text.mrope_section, config.image_token), (Some([16, 24, 24]), Some(151_655)));
    assert_eq!(config.save_type, SaveType::F32);
    let config = ModelConfig::from_json(&text()).unwrap();
    assert_eq!((config.text.rms_norm_eps, config.text.rope_theta, config.text.tied), (1e-6, 1e4, false));
    assert_eq!((config.text.mrope_section, config.image_token, config.vision), (None, None, None));
}

#[test]
fn other_writings_mean_the_same() {
    let plain = ModelConfig::from_json(&tiny()).unwrap();
    for changes in [
        vec![("/use_sliding_window", json!(false)), ("/sliding_window", json!(32768))],
        // No layer slides: the first that may is behind the last, or the window has no width.
        vec![("/use_sliding_window", json!(true)), ("/max_window_layers", json!(2))],
        vec![("/use_sliding_window", json!(true)), ("/sliding_window", json!(null)), ("/max_window_layers", json!(0))],
        vec![("/use_sliding_window", json!(true)), ("/layer_types", json!(["full_attention", "full_attention"]))],
        vec![("/rope_scaling/rope_type", json!("default"))],
        vec![("/rope_theta", json!(1_000_000))],
        // The published name counts where both stand.
        vec![("/rope_parameters", json!({"rope_theta": 7.0, "mrope_section": [8, 0, 0]}))],
        vec![("/vision_config/patch_size", json!([14, 14])), ("/vision_config/temporal_patch_size", json!([2]))],
        vec![("/vision_config/rope_parameters", json!({"rope_theta": 10000.0, "rope_type": "axial"}))],
        vec![("/dtype", json!("bfloat16")), ("/torch_dtype", json!(null))],
        vec![("/head_dim", json!(16)), ("/hidden_act", json!("silu"))],
        vec![("/text_config", json!(null))],
    ] {
        assert_eq!(ModelConfig::from_json(&changed(tiny(), &changes)).unwrap(), plain, "{changes:?}");
    }
    for place in ["/tie_word_embeddings", "/text_config/tie_word_embeddings"] {
        let mut nested = tiny();
        nested["text_config"] = without(tiny(), "vision_config");
        let config = changed(nested, &[("/tie_word_embeddings", json!(false)), (place, json!(true))]);
        assert!(ModelConfig::from_json(&config).unwrap().text.tied, "{place}");
    }
    let all_heads = ModelConfig::from_json(&changed(tiny(), &[("/num_key_value_heads", json!(null))])).unwrap();
    assert_eq!(all_heads.text.kv_heads, 4);
}

#[test]
fn errors_name_the_field_what_it_holds_and_what_was_expected() {
    for (field, value, expected) in [
        ("/hidden_size", json!("x"), "`hidden_size` is `x`, expected a whole number from 1 to 1048576"),
        ("/hidden_size", json!(66), "`hidden_size` is 66, expected a multiple of `num_attention_heads`, 4"),
        ("/hidden_size", json!(-64), "`hidden_size` is -64, expected a whole number from 1 to"),
        ("/hidden_size", json!(1e18), "`hidden_size` is 1e+18, expected a whole number from 1 to"),
        ("/num_attention_heads", json!(0), "`num_attention_heads` is 0, expected a whole number from 1 to 4096"),
        (
            "/num_key_value_heads",
            json!(3),
            "`num_key_value_heads` is 3, expected a divisor of `num_attention_heads`, 4",
        ),
        ("/num_key_value_heads", json!(0), "`num_key_value_heads` is 0, expected"),
        (
            "/num_hidden_layers",
            json!(1_000_000_000_000_000_000u64),
            "`num_hidden_layers` is 1000000000000000000, expected",
        ),
        ("/num_hidden_layers", json!(2.5), "`num_hidden_layers` is 2.5, expected a whole number"),
        ("/vocab_size", json!(null), "`vocab_size` is missing, expected a whole number from 1 to 16777216"),
        ("/head_dim", json!(32), "`head_dim` is 32, expected `hidden_size` by `num_attention_heads`, 64 / 4"),
        ("/rms_norm_eps", json!(-1.0), "`rms_norm_eps` is -1.0, expected a positive number"),
        ("/rope_theta", json!("big"), "`rope_theta` is `big`, expected a positive number"),
        ("/rope_scaling", json!([1]), "`rope_scaling` is [1], expected an object"),
        ("/rope_scaling/type", json!("yarn"), "`rope_scaling.type` is `yarn`, expected `default` or `mrope`"),
        (
            "/rope_scaling/mrope_section",
            json!([2, 3]),
            "`rope_scaling.mrope_section` is [2, 3], expected three numbers",
        ),
        (
            "/rope_scaling/mrope_section",
            json!([u64::MAX, 2, 6]),
            "`rope_scaling.mrope_section` is [18446744073709551615, 2, 6], expected three numbers that sum to half of the head \
             width, 8",
        ),
        (
            "/layer_types",
            json!(["full_attention", "sliding_attention"]),
            "`use_sliding_window` is true, expected false: sliding-window attention is not supported",
        ),
        ("/hidden_act", json!("gelu"), "`hidden_act` is `gelu`, expected `silu`"),
        ("/hidden_act", json!(5), "`hidden_act` is 5, expected `silu`"),
        ("/tie_word_embeddings", json!("yes"), "`tie_word_embeddings` is `yes`, expected true or false"),
        ("/torch_dtype", json!("float8"), "`torch_dtype` is `float8`, expected `float32`, `bfloat16` or `float16`"),
        ("/model_type", json!("llama"), "`model_type` is `llama`, expected `qwen2_5_vl` (Qwen2.5-VL) or `qwen2`"),
        ("/model_type", json!(["qwen2"]), "`model_type` is [\"qwen2\"], expected a text"),
        ("/vision_config", json!(null), "`vision_config` is missing, expected an object"),
        ("/vision_config/num_heads", json!(5), "`vision_config.hidden_size` is 48, expected a multiple of four times"),
        (
            "/vision_config/out_hidden_size",
            json!(3584),
            "`vision_config.out_hidden_size` is 3584, expected the language",
        ),
        ("/vision_config/window_size", json!(100), "`vision_config.window_size` is 100, expected a multiple of"),
        ("/vision_config/patch_size", json!([14, 7]), "`vision_config.patch_size` is [14,7], expected the same number"),
        ("/vision_config/patch_size", json!([0, 0]), "`vision_config.patch_size` is [0,0], expected whole numbers"),
        ("/vision_config/depth", json!(1e30), "`vision_config.depth` is 1e+30, expected a whole number from 1 to 4096"),
        ("/eos_token_id", json!([1, -2]), "`eos_token_id` is -2, expected a token id"),
        ("/image_token_id", json!("<|image_pad|>"), "`image_token_id` is `<|image_pad|>`, expected a token id"),
        ("/text_config", json!({"hidden_size": 5}), "`text_config.num_attention_heads` is missing"),
    ] {
        // Alone it means nothing: there are no layers from which on it counts.
        let change = [("/use_sliding_window", json!(true)), (field, value.clone())];
        let message = ModelConfig::from_json(&changed(tiny(), &change)).unwrap_err().to_string();
        assert!(message.starts_with(&format!("`config.json`: {expected}")), "{field} = {value}: {message}");
    }
    for config in [json!([]), json!(null), json!("qwen2"), json!({})] {
        let message = ModelConfig::from_json(&config).unwrap_err().to_string();
        assert!(message.starts_with("`config.json`: "), "{message}");
    }
}

#[test]
fn a_generation_config_that_is_no_object_is_named() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("config.json"), tiny().to_string()).unwrap();
    for (content, works) in
        [("[]", false), ("\"x\"", false), ("3", false), ("{}", true), ("{\"eos_token_id\": 7}", true)]
    {
        std::fs::write(folder.path().join("generation_config.json"), content).unwrap();
        match ModelConfig::load(&ModelFiles::from_folder(folder.path()).unwrap()) {
            Ok(_) => assert!(works, "{content}"),
            Err(error) => assert!(!works && error.to_string().starts_with("`generation_config.json`: is "), "{error}"),
        }
    }
}
