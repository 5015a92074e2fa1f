//! From the source of a plugin to its component: finds the language's compiler, runs it, wraps and checks what it made, and
//! puts it in its place whole or not at all.

mod c;
mod js;
mod python;
mod rust;

use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use ruminate_flow::target::NewFile;

use super::component;
use super::error::AuthorError;
use super::project::{Language, Project};
use super::tools::absolute;
use crate::host::Description;
use crate::ready;

/// A component that was built.
#[derive(Clone, Debug)]
pub struct Built {
    /// Where it lies.
    pub path: PathBuf,
    /// Its size.
    pub bytes: u64,
    /// What it says about itself.
    pub description: Description,
    /// How long it took.
    pub time: Duration,
    /// The compiler that made it, with its version.
    pub compiler: String,
    /// Whether the file was there with these very bytes.
    pub unchanged: bool,
}

/// What a compiler made.
struct Made {
    /// A component.
    bytes: Vec<u8>,
    /// The compiler and its version.
    compiler: String,
}

/// Builds the plugin of `project` and writes its component to `output`, or to `NAME.wasm` in its folder. `note` gets a line
/// for the person who waits.
///
/// # Errors
/// A missing compiler, with the command that installs it; a source that does not build, with the compiler's words; a component
/// that the engine would refuse.
pub fn build(project: &Project, output: Option<&Path>, note: &dyn Fn(&str)) -> Result<Built, AuthorError> {
    let start = Instant::now();
    let path = output.map_or_else(|| project.component(), Path::to_owned);
    if path.is_dir() {
        return Err(AuthorError::Input(format!("`{}` is a folder: expected the name of a file", path.display())));
    }
    let made = match project.language {
        Language::Rust => rust::build(project, note)?,
        Language::C => c::build(project)?,
        Language::Js => js::build(project, note)?,
        Language::Python => python::build(project, note)?,
    };
    let (description, unchanged) = put(project, &path, &made.bytes)?;
    Ok(Built {
        path,
        bytes: made.bytes.len() as u64,
        description,
        time: start.elapsed(),
        compiler: made.compiler,
        unchanged,
    })
}

/// Checks a component and writes it, whole or not at all. Also tells whether the file had these bytes before: then it is left
/// alone.
fn put(project: &Project, path: &Path, bytes: &[u8]) -> Result<(Description, bool), AuthorError> {
    let parent = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    std::fs::create_dir_all(parent).map_err(AuthorError::unwritable(parent))?;
    let trial = tempfile::Builder::new().suffix(".wasm").tempfile();
    let trial = trial.map_err(AuthorError::unwritable(&std::env::temp_dir()))?;
    std::fs::write(trial.path(), bytes).map_err(AuthorError::unwritable(trial.path()))?;
    let nothing = serde_json::json!({});
    let description = ready::inspect(trial.path(), &nothing)
        .map_err(|error| AuthorError::Build(format!("`{}` was compiled, but {error}", project.name)))?
        .description;
    if description.world != project.kind {
        return Err(AuthorError::Build(format!(
            "the source is a {}, and `{}` says `kind = \"{}\"`: change one of them",
            description.world.name(),
            project.folder.join(super::project::MANIFEST).display(),
            project.kind.name()
        )));
    }
    let unchanged = path.is_file() && std::fs::read(path).is_ok_and(|old| old == bytes);
    if !unchanged {
        let new = NewFile::create(path).map_err(AuthorError::unwritable(path))?;
        new.file().write_all(bytes).and_then(|()| new.finish()).map_err(AuthorError::unwritable(path))?;
    }
    Ok((description, unchanged))
}

/// The component that wraps the core module which a compiler made.
fn wrap(project: &Project, module: Vec<u8>, compiler: String) -> Result<Made, AuthorError> {
    let bytes = component::wrap(module, project.kind)
        .map_err(|fault| AuthorError::Build(format!("`{}` was compiled, but {fault}", project.name)))?;
    Ok(Made { bytes, compiler })
}

/// The failure of a compiler, with everything that it printed.
fn broken(project: &Project, what: &str, output: &str) -> AuthorError {
    let printed = if output.trim().is_empty() { "it printed nothing" } else { output.trim_end() };
    AuthorError::Build(format!("`{}` does not build; {what} says:\n\n{printed}", project.name))
}

/// A folder for a compiler's files, with the plugin package in `wit/plugin.wit`.
fn workplace() -> Result<tempfile::TempDir, AuthorError> {
    let failed = |error| AuthorError::Machine(format!("cannot make a temporary folder: {error}"));
    let place = tempfile::Builder::new().prefix("ruminate-plugin-").tempdir().map_err(failed)?;
    let wit = place.path().join("wit");
    std::fs::create_dir(&wit).map_err(AuthorError::unwritable(&wit))?;
    std::fs::write(wit.join("plugin.wit"), component::WIT).map_err(AuthorError::unwritable(&wit))?;
    Ok(place)
}

/// The SDK's folder as an absolute path.
///
/// # Errors
/// It is not there.
fn sdk(project: &Project) -> Result<PathBuf, AuthorError> {
    if !project.sdk.is_dir() {
        return Err(AuthorError::Input(format!(
            "the SDK is missing: `{}` is not there; `{}` may name another folder with `sdk = \"...\"`",
            project.sdk.display(),
            project.folder.join(super::project::MANIFEST).display()
        )));
    }
    Ok(absolute(&project.sdk))
}

/// The source file `name` of the plugin.
///
/// # Errors
/// It is not there.
fn source(project: &Project, name: &str) -> Result<PathBuf, AuthorError> {
    let path = project.folder.join(name);
    if path.is_file() {
        return Ok(path);
    }
    let language = project.language.name();
    Err(AuthorError::Input(format!("`{}` is missing: a plugin in `{language}` is built from it", path.display())))
}
