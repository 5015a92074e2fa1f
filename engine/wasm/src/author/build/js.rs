//! Plugins in JavaScript, by componentize-js in Node: an interpreter and the source in one component. Its bytes differ from
//! build to build.

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value as Json;

use super::{Made, broken, sdk, source, workplace};
use crate::author::error::AuthorError;
use crate::author::project::Project;
use crate::author::tools::{self, System, absolute};

const PACKAGE: &str = "@bytecodealliance/componentize-js";

pub(super) fn build(project: &Project, note: &dyn Fn(&str)) -> Result<Made, AuthorError> {
    source(project, "plugin.js")?;
    let sdk = sdk(project)?;
    let node = tools::find("node").ok_or_else(|| missing_node("node is not on the PATH"))?;
    let folder = absolute(&project.folder);
    let package = package(&folder, &sdk).ok_or_else(|| missing_package(project))?;
    note("componentize-js takes some 10 to 20 seconds");
    let place = workplace()?;
    let output = place.path().join("plugin.wasm");
    let mut command = Command::new(&node);
    command.current_dir(&folder).arg(sdk.join("build.mjs")).arg(project.kind.name());
    let ran = tools::run(command.arg(place.path().join("wit")).arg(&folder).arg(&output))?;
    if !ran.success {
        return Err(broken(project, "componentize-js", &ran.output()));
    }
    let bytes = std::fs::read(&output).map_err(|_| broken(project, "componentize-js", &ran.output()))?;
    let node = tools::answer(Command::new(&node).arg("--version")).unwrap_or_default();
    Ok(Made { bytes, compiler: format!("componentize-js {} on Node {node}", version(&package)) })
}

/// The folder of componentize-js: in a `node_modules` above the plugin or the SDK, or on `NODE_PATH`.
fn package(folder: &Path, sdk: &Path) -> Option<PathBuf> {
    let above = folder.ancestors().chain(sdk.ancestors()).map(|folder| folder.join("node_modules"));
    let named = std::env::var_os("NODE_PATH").unwrap_or_default();
    let named: Vec<PathBuf> = std::env::split_paths(&named).filter(|path| !path.as_os_str().is_empty()).collect();
    above.chain(named).map(|modules| modules.join(PACKAGE)).find(|package| package.join("package.json").is_file())
}

fn version(package: &Path) -> String {
    let text = std::fs::read_to_string(package.join("package.json")).unwrap_or_default();
    let json: Json = serde_json::from_str(&text).unwrap_or_default();
    json["version"].as_str().unwrap_or_default().to_owned()
}

fn missing_package(project: &Project) -> AuthorError {
    let folder = project.folder.display();
    AuthorError::Toolchain(format!(
        "plugins in JavaScript cannot be built here: `{PACKAGE}` is not installed; to install it: `npm install` in `{folder}`, \
         or in a folder above it `npm install {PACKAGE}`"
    ))
}

fn missing_node(fault: &str) -> AuthorError {
    let command = match System::here() {
        System::Debian => "`apt-get install nodejs npm` (Node 20 or later), then `npm install` in the plugin's folder",
        System::Fedora => "`dnf install nodejs`, then `npm install` in the plugin's folder",
        System::Arch => "`pacman -S nodejs npm`, then `npm install` in the plugin's folder",
        System::Mac => "`brew install node`, then `npm install` in the plugin's folder",
        System::Other => "Node 20 or later from https://nodejs.org, then `npm install` in the plugin's folder",
    };
    AuthorError::Toolchain(format!("plugins in JavaScript cannot be built here: {fault}; to install it: {command}"))
}
