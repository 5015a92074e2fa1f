//! Plugins in Python, by componentize-py: an interpreter, its library and the source in one component. Its bytes differ from
//! build to build.

use std::path::PathBuf;
use std::process::Command;

use super::{Made, broken, sdk, source, workplace};
use crate::author::error::AuthorError;
use crate::author::project::Project;
use crate::author::tools::{self, absolute};

const PROGRAM: &str = "componentize-py";
/// Names another componentize-py.
const PROGRAM_VARIABLE: &str = "RUMINATE_COMPONENTIZE_PY";
/// The SDK's module that ties a plugin to the worlds.
const MODULE: &str = "ruminate_world";

pub(super) fn build(project: &Project, note: &dyn Fn(&str)) -> Result<Made, AuthorError> {
    source(project, "plugin.py")?;
    let sdk = sdk(project)?;
    let program = program()?;
    note("componentize-py takes some 10 seconds");
    let place = workplace()?;
    let output = place.path().join("plugin.wasm");
    let folder = absolute(&project.folder);
    let mut command = Command::new(&program);
    command.current_dir(place.path()).arg("-d").arg(place.path().join("wit")).args(["-w", project.kind.name()]);
    command.args(["componentize", "--stub-wasi", "-p"]).arg(&folder).arg("-p").arg(&sdk).arg(MODULE);
    // The order of sets is part of the component: the same for each build, and no `__pycache__` is left beside the source.
    command.env("PYTHONHASHSEED", "0").env("PYTHONDONTWRITEBYTECODE", "1").env_remove("PYTHONPATH");
    let ran = tools::run(command.arg("-o").arg(&output))?;
    if !ran.success {
        return Err(broken(project, PROGRAM, &ran.output()));
    }
    let bytes = std::fs::read(&output).map_err(|_| broken(project, PROGRAM, &ran.output()))?;
    let version = tools::answer(Command::new(&program).arg("--version")).unwrap_or_else(|| PROGRAM.to_owned());
    Ok(Made { bytes, compiler: version })
}

/// componentize-py: where the variable says, in the virtual environment, or on the PATH.
fn program() -> Result<PathBuf, AuthorError> {
    if let Some(named) = std::env::var_os(PROGRAM_VARIABLE) {
        let named = PathBuf::from(named);
        return tools::find(&named).ok_or_else(|| {
            AuthorError::Input(format!("`{PROGRAM_VARIABLE}` names `{}`, which is no program", named.display()))
        });
    }
    let environment = std::env::var_os("VIRTUAL_ENV").map(|folder| PathBuf::from(folder).join("bin").join(PROGRAM));
    environment.and_then(tools::find).or_else(|| tools::find(PROGRAM)).ok_or_else(|| {
        AuthorError::Toolchain(format!(
            "plugins in Python cannot be built here: `{PROGRAM}` is not on the PATH; to install it: `pip install {PROGRAM}`, in a \
             virtual environment (`python3 -m venv .venv && . .venv/bin/activate`) if the system asks for one"
        ))
    })
}
