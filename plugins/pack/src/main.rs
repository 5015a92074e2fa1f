//! Turns a guest's core module into a component, makes the components that the tests of the host refuse, and writes the
//! lock file. Runs on the machine that builds plugins; see ../build.sh.

use std::collections::BTreeMap;
use std::fs;
use std::mem::take;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use wasm_encoder::{Component, ComponentSectionId, Encode, Module, RawSection, Section};
use wasmparser::{Encoding, Parser, Payload};
use wit_component::{ComponentEncoder, StringEncoding, dummy_module, embed_component_metadata};
use wit_parser::{ManglingAndAbi, Resolve};

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match arguments.as_slice() {
        ["component", module, path] => write(&component(&fs::read(module)?)?, Path::new(path)),
        ["small", module, path] => write(&stripped(&component(&fs::read(module)?)?)?, Path::new(path)),
        ["fixture", wit, base, component] => fixture(Path::new(wit), Path::new(base), Path::new(component)),
        ["lock", tools @ ..] => write_lock(tools),
        _ => {
            bail!("usage: pack component|small MODULE OUT | pack fixture WIT BASE_WIT OUT | pack lock TOOL=VERSION...")
        }
    }
}

/// Wraps a core module that carries its own WIT metadata.
fn component(module: &[u8]) -> Result<Vec<u8>> {
    ComponentEncoder::default().validate(true).module(module)?.encode()
}

fn write(component: &[u8], path: &Path) -> Result<()> {
    fs::write(path, component).with_context(|| format!("cannot write `{}`", path.display()))
}

/// The component without its custom sections: names for debuggers, and the tools that made it.
fn stripped(component: &[u8]) -> Result<Vec<u8>> {
    // What is around the component or module that is read, from the outermost on.
    let mut outer = Vec::new();
    let mut bytes = Vec::new();
    for payload in Parser::new(0).parse_all(component) {
        let payload = payload?;
        match &payload {
            Payload::Version { encoding: Encoding::Component, .. } => bytes.extend(Component::HEADER),
            Payload::Version { encoding: Encoding::Module, .. } => bytes.extend(Module::HEADER),
            Payload::ModuleSection { .. } => outer.push((ComponentSectionId::CoreModule, take(&mut bytes))),
            Payload::ComponentSection { .. } => outer.push((ComponentSectionId::Component, take(&mut bytes))),
            Payload::End(_) => {
                if let Some((id, mut around)) = outer.pop() {
                    around.push(id.into());
                    bytes.encode(&mut around);
                    bytes = around;
                }
            }
            Payload::CustomSection(_) => {}
            _ => {
                if let Some((id, range)) = payload.as_section() {
                    let data = &component[range.start as usize..range.end as usize];
                    RawSection { id, data }.append_to(&mut bytes);
                }
            }
        }
    }
    Ok(bytes)
}

/// A component of the world `fixture` in `wit` whose functions all trap. `base` is the plugin package, or `-`.
fn fixture(wit: &Path, base: &Path, path: &Path) -> Result<()> {
    let mut resolve = Resolve::default();
    if base != Path::new("-") {
        resolve.push_path(base)?;
    }
    let (package, _) = resolve.push_path(wit)?;
    let world = resolve.select_world(&[package], Some("fixture"))?;
    let mut module = dummy_module(&resolve, world, ManglingAndAbi::Legacy(wit_parser::LiftLowerAbi::Sync));
    embed_component_metadata(&mut module, &resolve, world, StringEncoding::UTF8)?;
    write(&component(&module)?, path)
}

/// Extensions of what components are made of or judged by.
const SOURCES: &[&str] =
    &["c", "h", "in", "js", "json", "jsonl", "lock", "mjs", "py", "rs", "sh", "toml", "txt", "wit"];
/// Folders of things that tools make or fetch.
const MADE: &[&str] = &["target", "node_modules", "__pycache__", "build"];
const LOCK: &str = "plugins.lock.json";

/// Writes the digests of all sources and components, relative to the current folder. `engine/wasm/src/tests/lock.rs` compares.
fn write_lock(tools: &[&str]) -> Result<()> {
    let mut versions = BTreeMap::new();
    for tool in tools {
        let (name, version) = tool.split_once('=').with_context(|| format!("`{tool}` is not TOOL=VERSION"))?;
        versions.insert(name, version);
    }
    let (mut sources, mut components) = (BTreeMap::new(), BTreeMap::new());
    for path in [".", "../tests/plugins", "../engine/grade"].iter().map(|root| files(Path::new(root))) {
        for path in path? {
            let name = path.strip_prefix(".").unwrap_or(&path).to_string_lossy().into_owned();
            let kind = path.extension().and_then(|extension| extension.to_str()).unwrap_or_default();
            let digest = || -> Result<String> { Ok(blake3::hash(&fs::read(&path)?).to_string()) };
            if kind == "wasm" {
                components.insert(name, digest()?);
            } else if name != LOCK && SOURCES.contains(&kind) {
                sources.insert(name, digest()?);
            }
        }
    }
    let lock = serde_json::json!({ "tools": versions, "components": components, "sources": sources });
    fs::write(LOCK, serde_json::to_string_pretty(&lock)? + "\n").context("cannot write the lock file")
}

/// All files below `folder` but those that tools make: hidden folders, build folders, and components in a plugin's own folder.
fn files(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        if path.is_file() {
            found.push(path);
        } else if path.is_dir() && !name.starts_with('.') && !MADE.contains(&&*name) {
            found.extend(files(&path)?);
        }
    }
    found.retain(|path| path.extension().is_none_or(|kind| kind != "wasm") || is_committed(path));
    found.sort();
    Ok(found)
}

/// Whether a component lies where the committed ones do; those in a plugin's own folder were built to try them.
fn is_committed(component: &Path) -> bool {
    [Path::new("."), Path::new("../tests/plugins")].iter().any(|folder| component.parent() == Some(folder))
}
