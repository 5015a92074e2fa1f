//! Turns a guest's core module into a component, makes the components that the tests of the host refuse, and writes the
//! lock file. Runs on the machine that builds plugins; see ../build.sh.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use wit_component::{ComponentEncoder, StringEncoding, dummy_module, embed_component_metadata};
use wit_parser::{ManglingAndAbi, Resolve};

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match arguments.as_slice() {
        ["component", module, component] => write_component(&fs::read(module)?, Path::new(component)),
        ["fixture", wit, base, component] => fixture(Path::new(wit), Path::new(base), Path::new(component)),
        ["lock", tools @ ..] => write_lock(tools),
        _ => bail!("usage: pack component MODULE OUT | pack fixture WIT BASE_WIT OUT | pack lock TOOL=VERSION..."),
    }
}

/// Wraps a core module that carries its own WIT metadata.
fn write_component(module: &[u8], component: &Path) -> Result<()> {
    let bytes = ComponentEncoder::default().validate(true).module(module)?.encode()?;
    fs::write(component, bytes).with_context(|| format!("cannot write `{}`", component.display()))
}

/// A component of the world `fixture` in `wit` whose functions all trap. `base` is the plugin package, or `-`.
fn fixture(wit: &Path, base: &Path, component: &Path) -> Result<()> {
    let mut resolve = Resolve::default();
    if base != Path::new("-") {
        resolve.push_path(base)?;
    }
    let (package, _) = resolve.push_path(wit)?;
    let world = resolve.select_world(&[package], Some("fixture"))?;
    let mut module = dummy_module(&resolve, world, ManglingAndAbi::Legacy(wit_parser::LiftLowerAbi::Sync));
    embed_component_metadata(&mut module, &resolve, world, StringEncoding::UTF8)?;
    write_component(&module, component)
}

/// Writes the digests of all sources and components, relative to the current folder.
fn write_lock(tools: &[&str]) -> Result<()> {
    let mut versions = BTreeMap::new();
    for tool in tools {
        let (name, version) = tool.split_once('=').with_context(|| format!("`{tool}` is not TOOL=VERSION"))?;
        versions.insert(name, version);
    }
    let (mut sources, mut components) = (BTreeMap::new(), BTreeMap::new());
    for path in files(Path::new("."))?.into_iter().chain(files(Path::new("../tests/plugins"))?) {
        let name = path.strip_prefix(".").unwrap_or(&path).to_string_lossy().into_owned();
        let digest = blake3::hash(&fs::read(&path)?).to_string();
        match path.extension().and_then(|extension| extension.to_str()) {
            Some("wasm") => components.insert(name, digest),
            Some("rs" | "wit" | "toml" | "lock" | "sh") => sources.insert(name, digest),
            _ => None,
        };
    }
    let lock = serde_json::json!({ "tools": versions, "components": components, "sources": sources });
    fs::write("plugins.lock.json", serde_json::to_string_pretty(&lock)? + "\n").context("cannot write the lock file")
}

/// All files below `folder`, without the build folder.
fn files(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_file() {
            found.push(path);
        } else if path.is_dir() && path != Path::new("./target") {
            found.extend(files(&path)?);
        }
    }
    found.sort();
    Ok(found)
}
