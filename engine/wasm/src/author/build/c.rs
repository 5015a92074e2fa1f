//! Plugins in C, by clang with wasi-libc. Nothing of WASI is left in the component; the same source gives the same bytes,
//! wherever its folder lies.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::{Made, broken, sdk, wrap};
use crate::author::error::AuthorError;
use crate::author::project::Project;
use crate::author::tools::{self, Ran, System, absolute};

/// Names another clang.
const COMPILER_VARIABLE: &str = "RUMINATE_CLANG";
/// Where the WASI SDK lies, if it is installed instead of a system's packages.
const SDK_VARIABLE: &str = "WASI_SDK_PATH";

/// For the compiler and for the linker. The stack lies below the data: one that overflows traps instead of overwriting.
const FLAGS: [&str; 7] = [
    "--target=wasm32-wasi",
    "-std=c17",
    "-Wall",
    "-Wextra",
    "-mexec-model=reactor",
    "-Wl,--strip-debug",
    "-Wl,--stack-first",
];

/// For the compiler alone: as fast as C gets without giving up anything that the standard promises. Asked for that while it links, clang
/// has `wasm-opt` go over the module where that is installed: other bytes there than elsewhere. Flags for the linker are none here.
const COMPILER_FLAGS: [&str; 3] = ["-O2", "-c", "-Wno-unused-command-line-argument"];

/// A program that needs all that a plugin needs: headers, the C library, the compiler's own library and the linker.
const PROBE: &str = "#include <stdlib.h>\n#include <string.h>\n\
    __attribute__((export_name(\"probe\"))) long double probe(const char *text) { return strtold(strdup(text), 0); }\n";

pub(super) fn build(project: &Project) -> Result<Made, AuthorError> {
    let sources = sources(project)?;
    let sdk = sdk(project)?;
    let clang = clang().ok_or_else(|| missing("clang is not on the PATH"))?;
    let place = super::workplace()?;
    let module = place.path().join("core.wasm");
    let run = |command: &mut Command| match tools::run(command)? {
        ran if ran.success => Ok(()),
        ran => Err(explain(project, &clang, place.path(), &ran)),
    };
    let mut objects = Vec::new();
    for source in sources.into_iter().chain(sdk_sources(project, &sdk)?) {
        let object = place.path().join(format!("{}.o", objects.len()));
        let mut command = Command::new(&clang);
        command.current_dir(&project.folder).args(FLAGS).args(COMPILER_FLAGS).args(maps(project, &sdk));
        command.arg(format!("-DRUMINATE_{}", project.kind.name().to_uppercase()));
        command.arg("-I").arg(&sdk).arg("-o").arg(&object).arg(source);
        run(&mut command)?;
        objects.push(object);
    }
    run(Command::new(&clang).args(FLAGS).arg("-o").arg(&module).args(&objects))?;
    let bytes = std::fs::read(&module).map_err(AuthorError::unreadable(&module))?;
    wrap(project, bytes, version(&clang))
}

/// Whose fault a build is that failed: the source's, or that of an installation in which even the probe does not build.
fn explain(project: &Project, clang: &Path, place: &Path, failed: &Ran) -> AuthorError {
    let probe = place.join("probe.c");
    let built = std::fs::write(&probe, PROBE)
        .map_err(AuthorError::unwritable(&probe))
        .and_then(|()| tools::run(Command::new(clang).args(FLAGS).arg("-o").arg(place.join("probe.wasm")).arg(&probe)));
    match built {
        Ok(ran) if !ran.success => {
            let output = ran.output();
            let first = output.lines().find(|line| line.contains("error")).or_else(|| output.lines().next());
            missing(&format!(
                "{} cannot build for WebAssembly: {}",
                version(clang),
                first.unwrap_or("it does not say why")
            ))
        }
        _ => broken(project, "clang", &failed.output()),
    }
}

/// The source files, relative to the plugin's folder.
fn sources(project: &Project) -> Result<Vec<PathBuf>, AuthorError> {
    if !project.sources.is_empty() {
        for name in &project.sources {
            super::source(project, name)?;
        }
        return Ok(project.sources.iter().map(PathBuf::from).collect());
    }
    let found = c_files(&project.folder)?;
    if found.is_empty() {
        let folder = project.folder.display();
        return Err(AuthorError::Input(format!("`{folder}` has no `.c` file: a plugin in `c` is built from them")));
    }
    Ok(found.into_iter().filter_map(|path| path.file_name().map(PathBuf::from)).collect())
}

/// The SDK's files: those for all plugins, and the bindings of the plugin's world.
fn sdk_sources(project: &Project, sdk: &Path) -> Result<Vec<PathBuf>, AuthorError> {
    let mut found = c_files(sdk)?;
    let bindings = sdk.join("bindings").join(format!("{}.c", project.kind.name()));
    if !bindings.is_file() {
        return Err(AuthorError::Input(format!("the SDK is not complete: `{}` is missing", bindings.display())));
    }
    found.push(bindings);
    Ok(found)
}

/// The `.c` files in `folder`, in the order of their names.
fn c_files(folder: &Path) -> Result<Vec<PathBuf>, AuthorError> {
    let entries = std::fs::read_dir(folder).map_err(AuthorError::unreadable(folder))?;
    let paths = entries.flatten().map(|entry| entry.path());
    let mut found: Vec<PathBuf> =
        paths.filter(|path| path.is_file() && path.extension().is_some_and(|extension| extension == "c")).collect();
    found.sort();
    Ok(found)
}

/// No path of this machine may end up in the text of an assertion.
fn maps(project: &Project, sdk: &Path) -> [OsString; 2] {
    let map = |from: &Path, to: &str| {
        let mut flag = OsString::from("-fmacro-prefix-map=");
        flag.push(from);
        flag.push(format!("={to}"));
        flag
    };
    [map(&absolute(&project.folder), "."), map(sdk, "sdk")]
}

fn clang() -> Option<PathBuf> {
    if let Some(path) = std::env::var_os(COMPILER_VARIABLE) {
        return tools::find(PathBuf::from(path));
    }
    let sdk = std::env::var_os(SDK_VARIABLE).map(|folder| PathBuf::from(folder).join("bin/clang"));
    sdk.and_then(tools::find).or_else(|| tools::find("clang"))
}

fn version(clang: &Path) -> String {
    tools::answer(Command::new(clang).arg("--version")).unwrap_or_else(|| "clang".to_owned())
}

fn missing(fault: &str) -> AuthorError {
    let command = match System::here() {
        System::Debian => {
            "`apt-get install --no-install-recommends clang lld wasi-libc libclang-rt-dev-wasm32`, on Debian 12 \
             `libclang-rt-14-dev-wasm32` instead of the last"
        }
        System::Fedora => "`dnf install clang lld wasi-libc-devel wasi-libc-static`",
        System::Arch => "`pacman -S clang lld wasi-libc wasi-compiler-rt`",
        System::Mac | System::Other => {
            "the WASI SDK, https://github.com/WebAssembly/wasi-sdk/releases, and its folder in the variable `WASI_SDK_PATH`"
        }
    };
    AuthorError::Toolchain(format!("plugins in C cannot be built here: {fault}; to install it: {command}"))
}
