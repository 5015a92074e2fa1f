//! Values from the command line (`nodes.grpo.steps=10`) laid over the tree of a graph file. Knows nothing of kinds.

use toml::de::{DeTable, DeValue};

use crate::diagnostic::{Diagnostic, Place, list, nearest};
use crate::document::{Content, Entry, Environment, Item, Table, parse_value};

/// Lays a value from the command line over the tree: `key` is dotted (`nodes.grpo.steps`), `value` TOML or else plain text.
pub(crate) fn set(
    root: &mut Table,
    key: &str,
    value: &str,
    environment: Environment<'_>,
    errors: &mut Vec<Diagnostic>,
) {
    let setting = format!("{key}={value}");
    let place = Place::Setting(setting.clone());
    let Some(path) = dotted(key) else {
        errors.push(Diagnostic::new(&place, format!("`{key}` is not a dotted key such as `nodes.NODE.OPTION`")));
        return;
    };
    if let Err(error) = check_target(root, &path, &place) {
        errors.push(error);
        return;
    }
    let item = parse_value(value, &setting, environment, errors);
    if let Err(error) = insert(root, &path, item, &place) {
        errors.push(error);
    }
}

/// Whether the key names a node of a further round of a `[repeat]` block: `nodes.traces@2.samples`.
pub(crate) fn names_a_round(key: &str) -> bool {
    let Some(path) = dotted(key) else { return false };
    matches!(path.as_slice(), [section, node, ..] if section == "nodes" && node.contains('@'))
}

/// Puts `item` at `path`, making the tables on the way.
fn insert(root: &mut Table, path: &[String], item: Item, place: &Place) -> Result<(), Diagnostic> {
    let Some((last, parents)) = path.split_last() else { return Ok(()) };
    let mut table = root;
    for (index, part) in parents.iter().enumerate() {
        let new = || Entry {
            key: place.clone(),
            item: Item { place: place.clone(), content: Content::Table(Table::default()) },
        };
        match &mut table.0.entry(part.clone()).or_insert_with(new).item.content {
            Content::Table(inner) => table = inner,
            _ => {
                let message = format!("`{}` is not a table: nothing can be set in it", path[..=index].join("."));
                return Err(Diagnostic::new(place, message));
            }
        }
    }
    table.0.insert(last.clone(), Entry { key: place.clone(), item });
    Ok(())
}

/// The parts of a dotted key; `None` if it is none.
fn dotted(key: &str) -> Option<Vec<String>> {
    let text = format!("{} = 0", with_quotes(key));
    if text.contains('\n') {
        return None;
    }
    let mut table = DeTable::parse(&text).ok()?.into_inner();
    let mut path = Vec::new();
    loop {
        let (part, value) = std::mem::take(&mut table).into_iter().next()?;
        path.push(part.into_inner().into_owned());
        match value.into_inner() {
            DeValue::Table(inner) => table = inner,
            DeValue::Integer(_) => return Some(path),
            _ => return None,
        }
    }
}

/// The key with quotes round each part that has an `@`, such as `traces@2`, and none.
fn with_quotes(key: &str) -> String {
    if !key.contains('@') || key.contains(['"', '\'']) {
        return key.to_owned();
    }
    let quote = |part: &str| if part.contains('@') { format!("'{}'", part.trim()) } else { part.to_owned() };
    key.split('.').map(quote).collect::<Vec<_>>().join(".")
}

/// A setting must name `name`, `seed` or something in a node, model or block that the file has.
fn check_target(root: &Table, path: &[String], place: &Place) -> Result<(), Diagnostic> {
    let help = "a setting names `nodes.NODE.OPTION`, `models.MODEL.KEY`, `repeat.BLOCK.times`, `name` or `seed`";
    let (section, name) = match path {
        [only] if only == "name" || only == "seed" => return Ok(()),
        [section, name, _, ..] if ["nodes", "models", "repeat"].contains(&section.as_str()) => (section, name),
        _ => return Err(Diagnostic::new(place, format!("`{}` cannot be set", path.join("."))).help(help)),
    };
    let what = match section.as_str() {
        "nodes" => "node",
        "models" => "model",
        _ => "block",
    };
    let Some(Content::Table(table)) = root.0.get(section).map(|entry| &entry.item.content) else {
        return Err(Diagnostic::new(place, format!("there is no {what} `{name}`: the graph has no `[{section}]`")));
    };
    if table.0.contains_key(name) {
        return Ok(());
    }
    let names = table.0.keys().map(String::as_str);
    let error = Diagnostic::new(place, format!("there is no {what} `{name}`"));
    Err(match nearest(name, names.clone()) {
        Some(near) => error.label(format!("did you mean `{near}`?")),
        None => error.help(format!("the {what}s are: {}", list(names))),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::document::parse;

    #[test]
    fn a_setting_replaces_adds_and_is_refused() {
        let mut errors = Vec::new();
        let mut table = parse("seed = 1\n[nodes.grpo]\nsteps = 1\n", &|_| None, &mut errors).unwrap();
        for (key, value) in [
            ("nodes.grpo.steps", "10"),
            ("nodes.grpo.fields.\"a b\"", "plain text"),
            ("nodes.grop.steps", "10"),
            ("nodes.grpo.steps.x", "1"),
            ("nodes.grpo", "1"),
            ("nodes = 1 #", "1"),
        ] {
            set(&mut table, key, value, &|_| None, &mut errors);
        }
        let messages: Vec<String> = errors.into_iter().map(|error| error.message).collect();
        assert_eq!(
            messages,
            [
                "there is no node `grop`",
                "`nodes.grpo.steps` is not a table: nothing can be set in it",
                "`nodes.grpo` cannot be set",
                "`nodes` cannot be set"
            ]
        );
        let Content::Table(nodes) = &table.0["nodes"].item.content else { panic!() };
        let Content::Table(grpo) = &nodes.0["grpo"].item.content else { panic!() };
        assert!(matches!(grpo.0["steps"].item.content, Content::Integer(10)));
        let Content::Table(fields) = &grpo.0["fields"].item.content else { panic!() };
        assert!(matches!(&fields.0["a b"].item.content, Content::Text(text) if text.value == "plain text"));
    }
}
