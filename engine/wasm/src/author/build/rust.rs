//! Plugins in Rust, by cargo. The compiler is the one with the target wasm32-unknown-unknown; where there is none, Debian's
//! rustc-web compiles the standard library along. The same source gives the same bytes, wherever its folder lies.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value as Json;

use super::{Made, broken, source, wrap};
use crate::author::error::AuthorError;
use crate::author::project::Project;
use crate::author::tools::{self, System, absolute};

const TARGET: &str = "wasm32-unknown-unknown";
/// Names another compiler, one that lies with the source of its standard library.
const COMPILER_VARIABLE: &str = "GUEST_RUSTC";
/// Debian's compiler for browsers and the like.
const DEBIAN: &str = "/usr/bin/rustc";

/// What turns Rust into a core module.
struct Toolchain {
    cargo: PathBuf,
    /// The compiler, if it is not cargo's own.
    compiler: Option<PathBuf>,
    /// The compiler's version.
    version: String,
    /// The linker, if the compiler does not bring its own.
    linker: Option<PathBuf>,
    /// The source of the standard library, if it is compiled along.
    library: Option<PathBuf>,
}

pub(super) fn build(project: &Project, note: &dyn Fn(&str)) -> Result<Made, AuthorError> {
    let manifest = absolute(&source(project, "Cargo.toml")?);
    let toolchain = Toolchain::find()?;
    if toolchain.library.is_some() {
        note("the first build with this compiler also builds Rust's standard library: it takes a minute or two");
    }
    let ran = tools::run(&mut toolchain.command(&manifest))?;
    if !ran.success {
        return Err(broken(project, "cargo", &ran.stderr));
    }
    let module = module(&ran.stdout, &manifest).ok_or_else(|| {
        AuthorError::Build(format!(
            "`{}` was compiled, but gave no WebAssembly: its `Cargo.toml` needs `[lib]` with `crate-type = [\"cdylib\"]`",
            project.name
        ))
    })?;
    let bytes = std::fs::read(&module).map_err(AuthorError::unreadable(&module))?;
    wrap(project, bytes, toolchain.version)
}

impl Toolchain {
    /// The toolchain of this machine.
    fn find() -> Result<Self, AuthorError> {
        let cargo = tools::find("cargo").ok_or_else(|| missing("cargo", tools::find("rustup").is_some()))?;
        if let Some(compiler) = std::env::var_os(COMPILER_VARIABLE) {
            return Self::compiling_std(cargo, Path::new(&compiler)).map_err(|fault| {
                let shown = Path::new(&compiler).display();
                AuthorError::Input(format!(
                    "`{COMPILER_VARIABLE}` names `{shown}`, which cannot build plugins: {fault}"
                ))
            });
        }
        let rustc = || tools::find("rustc").map(Command::new);
        let installed = rustc().and_then(|mut rustc| {
            let folder = tools::answer(rustc.args(["--print", "target-libdir", "--target", TARGET]))?;
            Path::new(&folder).is_dir().then_some(())
        });
        if installed.is_some() {
            let version = rustc().and_then(|mut rustc| tools::answer(rustc.arg("--version"))).unwrap_or_default();
            return Ok(Self { cargo, compiler: None, version, linker: None, library: None });
        }
        Self::compiling_std(cargo, Path::new(DEBIAN)).map_err(|_| missing("target", tools::find("rustup").is_some()))
    }

    /// A toolchain of a compiler that lies with the source of its standard library.
    fn compiling_std(cargo: PathBuf, compiler: &Path) -> Result<Self, String> {
        let compiler = tools::find(compiler).ok_or("it is not there")?;
        let ask = |words: &[&str]| tools::answer(Command::new(&compiler).args(words));
        let version = ask(&["--version"]).ok_or("it does not tell its version")?;
        let sysroot = PathBuf::from(ask(&["--print", "sysroot"]).ok_or("it does not tell its folder")?);
        let library = sysroot.join("lib/rustlib/src/rust");
        if !library.join("library/std").is_dir() {
            return Err(format!("`{}` does not have the source of the standard library", library.display()));
        }
        let linker = linker(&sysroot).ok_or("there is no linker for WebAssembly: neither `rust-lld` nor `wasm-ld`")?;
        Ok(Self { cargo, compiler: Some(compiler), version, linker: Some(linker), library: Some(library) })
    }

    /// The command that builds the crate of `manifest`.
    fn command(&self, manifest: &Path) -> Command {
        let mut command = Command::new(&self.cargo);
        command.current_dir(manifest.parent().unwrap_or(Path::new(".")));
        command.args(["build", "--release", "--quiet", "--target", TARGET, "--message-format=json-render-diagnostics"]);
        command.arg("--manifest-path").arg(manifest);
        // What the caller's own builds are told must not change the plugin's bytes.
        for name in ["RUSTFLAGS", "CARGO_BUILD_RUSTFLAGS", "RUSTC", "CARGO_BUILD_TARGET", "RUSTC_BOOTSTRAP"] {
            command.env_remove(name);
        }
        if self.library.is_some() {
            command.args(["-Z", "build-std=std,panic_abort"]).env("RUSTC_BOOTSTRAP", "1");
        }
        if let Some(compiler) = &self.compiler {
            command.env("RUSTC", compiler);
        }
        if let Some(linker) = &self.linker {
            command.env("CARGO_TARGET_WASM32_UNKNOWN_UNKNOWN_LINKER", linker);
        }
        command.env("CARGO_ENCODED_RUSTFLAGS", self.flags(manifest));
        command
    }

    /// No path of this machine may end up in a panic's message. What lies in the plugin's own workspace has none: cargo gives
    /// the compiler relative paths. Flags that were the folder's own would make cargo build everything again for each plugin.
    fn flags(&self, manifest: &Path) -> OsString {
        let mut flags = OsString::new();
        let mut remap = |from: &Path, to: &str| {
            if !flags.is_empty() {
                flags.push("\u{1f}");
            }
            flags.push("--remap-path-prefix=");
            flags.push(from);
            flags.push(format!("={to}"));
        };
        if let Some(library) = &self.library {
            remap(&absolute(library), "std");
            remap(library, "std");
        }
        for registry in registries() {
            remap(&registry, "registry");
        }
        for (name, folder) in self.outside(manifest) {
            remap(&folder, &name);
        }
        flags
    }

    /// The crates that lie on this machine outside the plugin's workspace: name and folder.
    fn outside(&self, manifest: &Path) -> Vec<(String, PathBuf)> {
        let mut command = Command::new(&self.cargo);
        command.args(["metadata", "--format-version=1", "--quiet", "--manifest-path"]).arg(manifest);
        // Where this fails the build fails too, and says why.
        let Ok(ran) = tools::run(&mut command) else { return Vec::new() };
        let metadata: Json = serde_json::from_str(&ran.stdout).unwrap_or_default();
        let root = PathBuf::from(metadata["workspace_root"].as_str().unwrap_or_default());
        let packages = metadata["packages"].as_array().cloned().unwrap_or_default();
        let local = packages.iter().filter(|package| package["source"].is_null()).filter_map(|package| {
            let manifest = Path::new(package["manifest_path"].as_str()?);
            Some((package["name"].as_str()?.to_owned(), manifest.parent()?.to_owned()))
        });
        let mut outside: Vec<_> = local.filter(|(_, folder)| !folder.starts_with(&root)).collect();
        outside.sort();
        outside
    }
}

/// The linker that rustup's compiler brings, or the one of the system.
fn linker(sysroot: &Path) -> Option<PathBuf> {
    let of_sysroot = |sysroot: &Path| {
        let hosts = std::fs::read_dir(sysroot.join("lib/rustlib")).ok()?;
        hosts.flatten().map(|host| host.path().join("bin/rust-lld")).find(|file| file.is_file())
    };
    let rustc = tools::find("rustc").and_then(|rustc| tools::answer(Command::new(rustc).args(["--print", "sysroot"])));
    rustc
        .and_then(|rustc| of_sysroot(Path::new(&rustc)))
        .or_else(|| of_sysroot(sysroot))
        .or_else(|| tools::find("rust-lld"))
        .or_else(|| tools::find("wasm-ld"))
}

/// The folders with the sources of crates that cargo fetched.
fn registries() -> Vec<PathBuf> {
    let home = std::env::var_os("CARGO_HOME").map(PathBuf::from);
    let Some(home) = home.or_else(|| Some(dirs::home_dir()?.join(".cargo"))) else { return Vec::new() };
    let entries = std::fs::read_dir(home.join("registry/src"));
    let mut folders: Vec<PathBuf> = entries.into_iter().flatten().flatten().map(|entry| entry.path()).collect();
    folders.sort();
    folders
}

/// The file of the module, from cargo's messages.
fn module(messages: &str, manifest: &Path) -> Option<PathBuf> {
    let made = messages.lines().filter_map(|line| serde_json::from_str::<Json>(line).ok()).filter(|message| {
        let of_manifest = message["manifest_path"].as_str().is_some_and(|path| absolute(Path::new(path)) == manifest);
        message["reason"] == "compiler-artifact" && of_manifest
    });
    let files = made.flat_map(|message| message["filenames"].as_array().cloned().unwrap_or_default());
    let mut files = files.filter_map(|file| file.as_str().map(PathBuf::from));
    files.rfind(|file| file.extension().is_some_and(|extension| extension == "wasm"))
}

/// What to install.
fn missing(what: &str, has_rustup: bool) -> AuthorError {
    let (fault, command) = match (what, has_rustup, System::here()) {
        ("cargo", ..) => (
            "cargo is not on the PATH",
            "install Rust from https://rustup.rs, then `rustup target add wasm32-unknown-unknown`",
        ),
        (_, true, System::Debian) => (
            "this Rust has no target wasm32-unknown-unknown",
            "`rustup target add wasm32-unknown-unknown`, or without network to Rust's servers \
             `apt-get install --no-install-recommends rustc-web rust-web-src`",
        ),
        (_, true, _) => {
            ("this Rust has no target wasm32-unknown-unknown", "`rustup target add wasm32-unknown-unknown`")
        }
        (_, false, System::Debian) => (
            "this Rust has no target wasm32-unknown-unknown",
            "`apt-get install --no-install-recommends rustc-web rust-web-src lld`",
        ),
        (_, false, System::Fedora) => (
            "this Rust has no target wasm32-unknown-unknown",
            "`dnf install rust-std-static-wasm32-unknown-unknown lld`",
        ),
        (_, false, System::Arch) => ("this Rust has no target wasm32-unknown-unknown", "`pacman -S rust-wasm lld`"),
        (_, false, _) => (
            "this Rust has no target wasm32-unknown-unknown",
            "install Rust from https://rustup.rs, then `rustup target add wasm32-unknown-unknown`",
        ),
    };
    AuthorError::Toolchain(format!("plugins in Rust cannot be built here: {fault}; to install it: {command}"))
}
