//! Chat templates: those that any Jinja takes give transformers' texts, and programs of strangers end in time.

use std::path::PathBuf;

use serde_json::{Value, json};

use super::template::Template;
use crate::Result;
use crate::types::{Message, ModelFiles, Part};

fn template(source: &str, folder: &tempfile::TempDir) -> Result<Template> {
    let path = folder.path().join("chat_template.jinja");
    std::fs::write(&path, source).unwrap();
    let mut files = ModelFiles::default();
    files.files.insert("chat_template.jinja".to_owned(), path);
    Template::load(&files)
}

fn from_json(messages: &Value) -> Vec<Message> {
    Message::from_json(messages, &mut |_| Ok(vec![1])).unwrap()
}

#[test]
fn templates_write_what_transformers_writes() {
    let folder = tempfile::tempdir().unwrap();
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../tests/reference/chat/templates.json");
    let all: Value = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
    let messages = from_json(&all["messages"]);
    let mut wrong = Vec::new();
    for case in all["cases"].as_array().unwrap() {
        let written = template(case[0].as_str().unwrap(), &folder).and_then(|it| it.render(&messages, false, None));
        let text = written.as_ref().ok().map(|it| it.text.as_str());
        if text != case[1].as_str() {
            wrong.push(format!("{case}\n{written:?}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn templates_of_strangers_end_in_time_and_memory() {
    let folder = tempfile::tempdir().unwrap();
    let grown = |statement: &str, end: &str| {
        format!(
            "{{% set ns = namespace(l=[1], m=[1], d={{}}, s='a') %}}{{% for j in range(100) %}}{{% for i in range(1000) %}}\
             {statement}{{% endfor %}}{{% endfor %}}{end}"
        )
    };
    let many = |count: usize, begin: &str, middle: &str, end: &str| {
        format!("{{{{ {}{middle}{} }}}}", begin.repeat(count), end.repeat(count))
    };
    for (name, source) in [
        ("loops", "{% for a in range(100000) %}{% for b in range(100000) %}{% endfor %}{% endfor %}".to_owned()),
        (
            "output",
            "{% for a in range(10000) %}{% for b in range(10000) %}{{ 'x' * 1000 }}{% endfor %}{% endfor %}".to_owned(),
        ),
        ("doubling", grown("{% set ns.s = ns.s ~ ns.s %}", "{{ ns.s|length }}")),
        ("macro", "{% macro f(x) %}{{ f(x ~ x) }}{% endmacro %}{{ f('aaaaaaaaaa') }}".to_owned()),
        ("not", many(60_000, "not ", "1", "")),
        ("minus", many(100_000, "-", "1", "")),
        ("filters", many(30_000, "", "1", "|string")),
        ("attributes", many(60_000, "", "messages", ".a")),
        ("concatenations", many(40_000, "", "'a'", " ~ 'a'")),
        ("sum", many(60_000, "", "1", "+1")),
        ("size", "a".repeat(300_000)),
        ("indent", "{{ 'a\nb'|indent(10000000000) }}".to_owned()),
        ("slice", "{{ [1]|slice(10000000000)|list }}".to_owned()),
        ("batch", "{{ [1]|batch(10000000000, 1)|list }}".to_owned()),
        ("replace", "{{ ('a' * 100000)|replace('a', 'b' * 100000) }}".to_owned()),
        ("replace method", "{{ ('a' * 100000).replace('a', 'b' * 100000) }}".to_owned()),
        ("join method", "{{ ('a' * 100000).join(['b' * 100000] * 100000) }}".to_owned()),
        ("list as text", "{{ ['b' * 100000] * 100000 }}".to_owned()),
        ("list as JSON", "{{ (['b' * 100000] * 100000)|tojson }}".to_owned()),
        ("tojson", "{{ messages|tojson(indent=1000000000) }}".to_owned()),
        ("format", "{{ '%1000000000d'|format(1) }}".to_owned()),
        ("str.format", "{{ '{:1000000000}'.format(1) }}".to_owned()),
        ("center", "{{ 'a'.center(10000000000) }}".to_owned()),
        ("debug", "{{ debug() }}".to_owned()),
        ("itself", "{% set ns = namespace() %}{% set ns.x = ns %}{{ ns }}".to_owned()),
        ("itself in a list", "{% set ns = namespace() %}{% set ns.x = [{'a': ns}] %}{{ ns|tojson }}".to_owned()),
        (
            "itself by turns",
            "{% set a = namespace() %}{% set b = namespace(x=a) %}{% set a.x = b %}{{ a == b }}".to_owned(),
        ),
        ("lists", grown("{% set ns.l = [ns.l] %}", "{{ ns.l }}")),
        ("lists by a pattern", grown("{% set (ns.l, x) = ([ns.l], 1) %}", "{{ ns.l }}")),
        ("lists by a block", grown("{% set ns.l|default([ns.l], true) %}{% endset %}", "{{ ns.l }}")),
        ("dictionaries", grown("{% set ns.d = {'a': ns.d} %}", "{{ ns.d|tojson }}")),
        ("compared", grown("{% set ns.l = [ns.l] %}{% set ns.m = [ns.m] %}", "{{ ns.l == ns.m }}")),
        ("reversed", grown("{% set ns.l = [ns.l|reverse] %}", "{{ ns.l|string|length }}")),
        ("sum of lists", grown("{% set ns.l = ns.l + ns.l %}", "{{ ns.l|length }}")),
        ("long exception", "{{ raise_exception('x' * 1000000) }}".to_owned()),
    ] {
        let begun = std::time::Instant::now();
        let written = template(&source, &folder).and_then(|it| it.render(&[Message::text("user", "a")], true, None));
        let error = written.map(|it| it.text.chars().take(80).collect::<String>()).unwrap_err().to_string();
        let place = folder.path().join("chat_template.jinja").display().to_string();
        assert!(error.contains(&place) && error.len() < 2000, "{name}: {error}");
        assert!(begun.elapsed().as_secs() < 60, "{name}: {:?}", begun.elapsed());
    }
}

#[test]
fn long_chats_have_room() {
    let folder = tempfile::tempdir().unwrap();
    let source = "{% set ns = namespace(all='', list=[]) %}{% for m in messages %}{% for n in messages %}{% if n.role == 'user' \
                  and loop.last %}{{ n.content }}{% endif %}{% endfor %}{% set ns.all = ns.all ~ m.content %}\
                  {% set ns.list = ns.list + [m.content|trim|upper] %}{% endfor %}{{ ns.all }}{{ ns.list|tojson }}";
    let template = template(source, &folder).unwrap();
    let messages: Vec<Message> = (0..300).map(|index| Message::text("user", "word ".repeat(index))).collect();
    assert!(template.render(&messages, true, None).unwrap().text.len() > 300 * 300 * 5);
    let long = [Message::text("user", "word ".repeat(1 << 20))];
    assert!(template.render(&long, true, None).is_ok());
}

#[test]
fn errors_of_templates_name_the_file_and_the_line() {
    let folder = tempfile::tempdir().unwrap();
    let place = folder.path().join("chat_template.jinja").display().to_string();
    for (source, expected) in [
        ("a\n{% for %}", format!("`{place}`: the chat template cannot be parsed: line 2: ")),
        (
            "a\n\n{{ raise_exception('no \u{1b}[2J') }}",
            format!("chat: `{place}` cannot write the messages: line 3: no \\u{{1b}}[2J; "),
        ),
        ("{{ 1|sha1 }}", format!("chat: `{place}` cannot write the messages: line 1: unknown filter: ")),
    ] {
        let written = template(source, &folder).and_then(|it| it.render(&[Message::text("user", "a")], true, None));
        let error = written.unwrap_err().to_string();
        assert!(error.starts_with(&expected), "{error}\n{expected}");
    }
}

#[test]
fn guarded_texts_are_marked_wherever_a_message_holds_them() {
    let folder = tempfile::tempdir().unwrap();
    let all =
        template("{{ messages|tojson }}{% for p in messages[0].content %}{{ p.text }}{% endfor %}", &folder).unwrap();
    let messages = from_json(&json!([
        {"role": "user", "content": [{"type": "text", "text": "a<im"}, {"type": "text", "text": "g>b"}, {"type": "image", "image": "x"},
            {"type": "text", "text": "<img>"}, {"type": "text", "text": "c"}]},
        {"role": "assistant", "content": null, "tool_calls": [{"arguments": {"<img>": ["<img>"]}}], "reasoning": "<img>"},
    ]));
    let written = all.render(&messages, false, Some("<img>")).unwrap();
    assert!(!written.text.contains("<img>"), "{}", written.text);
    assert_eq!(written.text.matches(written.mark).count(), 2 + 2 + 3 + 2);
    // Texts that hold nothing of the kind stay the parts that they are.
    assert!(written.text.contains("{\"type\": \"text\", \"text\": \"c\"}"), "{}", written.text);
}

#[test]
fn a_message_needs_something_to_say() {
    for (message, works) in [
        (json!({"role": "assistant", "content": null, "tool_calls": []}), true),
        (json!({"role": "assistant", "tool_calls": [{}]}), true),
        (json!({"role": "assistant", "content": null}), false),
        (json!({"role": "assistant", "content": null, "tool_calls": null}), false),
        (json!({"role": "assistant"}), false),
        (json!({"role": "assistant", "content": 3, "name": "x"}), false),
    ] {
        let read = Message::from_json(&json!([message.clone()]), &mut |_| Ok(vec![]));
        assert_eq!(read.is_ok(), works, "{message}: {read:?}");
    }
    let parts = vec![Part::Text("a".to_owned()), Part::Text("b".to_owned())];
    assert_eq!(Message::new("user", parts), Message::text("user", "ab"));
}
