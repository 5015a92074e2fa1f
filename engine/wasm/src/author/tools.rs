//! Other people's programs: where they are, how they are run, and which command installs what is missing on this system.
//! It does not know what they build.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::error::AuthorError;

/// A system with a package manager that is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum System {
    Debian,
    Fedora,
    Arch,
    Mac,
    Other,
}

/// What a program printed before it ended.
pub(super) struct Ran {
    pub(super) success: bool,
    pub(super) stdout: String,
    pub(super) stderr: String,
}

impl System {
    /// The system that this program runs on.
    pub(super) fn here() -> Self {
        if cfg!(target_os = "macos") {
            return System::Mac;
        }
        System::of_release(&std::fs::read_to_string("/etc/os-release").unwrap_or_default())
    }

    /// The system that an `os-release` file describes.
    fn of_release(text: &str) -> Self {
        let value = |key: &str| text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix('='));
        let names = [value("ID"), value("ID_LIKE")].into_iter().flatten();
        let names: Vec<&str> = names.flat_map(|names| names.trim_matches('"').split(' ')).collect();
        let is = |wanted: &[&str]| names.iter().any(|name| wanted.contains(name));
        match () {
            () if is(&["debian", "ubuntu"]) => System::Debian,
            () if is(&["fedora", "rhel"]) => System::Fedora,
            () if is(&["arch"]) => System::Arch,
            () => System::Other,
        }
    }
}

impl Ran {
    /// All that was printed, errors last, for the person whose source does not build.
    pub(super) fn output(&self) -> String {
        let parts = [self.stdout.trim_end(), self.stderr.trim_end()];
        parts.into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join("\n")
    }
}

/// The program of this name on the PATH, or the file if `name` is a path.
pub(super) fn find(name: impl AsRef<Path>) -> Option<PathBuf> {
    let name = name.as_ref();
    if name.components().count() > 1 {
        return is_program(name).then(|| name.to_owned());
    }
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|folder| folder.join(name)).find(|file| is_program(file))
}

#[cfg(unix)]
fn is_program(file: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt;
    std::fs::metadata(file).is_ok_and(|metadata| metadata.is_file() && metadata.permissions().mode() & 0o111 != 0)
}

#[cfg(not(unix))]
fn is_program(file: &Path) -> bool {
    file.is_file() || file.with_extension("exe").is_file()
}

/// Runs a program to its end. It reads nothing; what it prints is kept.
///
/// # Errors
/// It cannot be started.
pub(super) fn run(command: &mut Command) -> Result<Ran, AuthorError> {
    let output = command.stdin(Stdio::null()).output().map_err(|error| {
        let program = command.get_program().to_string_lossy().into_owned();
        AuthorError::Machine(format!("cannot start `{program}`: {error}"))
    })?;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    Ok(Ran { success: output.status.success(), stdout: text(&output.stdout), stderr: text(&output.stderr) })
}

/// The first line that a program prints, without blanks around it; `None` if it fails.
pub(super) fn answer(command: &mut Command) -> Option<String> {
    let ran = run(command).ok().filter(|ran| ran.success)?;
    ran.stdout.lines().next().map(|line| line.trim().to_owned()).filter(|line| !line.is_empty())
}

/// The path as an absolute one without links, or as it is if that cannot be told.
pub(super) fn absolute(path: &Path) -> PathBuf {
    std::fs::canonicalize(path).or_else(|_| std::path::absolute(path)).unwrap_or_else(|_| path.to_owned())
}

#[cfg(test)]
mod tests {
    use super::System;

    #[test]
    fn systems_are_told_by_their_release_file() {
        let cases = [
            ("PRETTY_NAME=\"Debian GNU/Linux 12\"\nID=debian\n", System::Debian),
            ("ID=linuxmint\nID_LIKE=\"ubuntu debian\"\n", System::Debian),
            ("ID=\"rocky\"\nID_LIKE=\"rhel centos fedora\"\n", System::Fedora),
            ("ID=manjaro\nID_LIKE=arch\n", System::Arch),
            ("ID=nixos\n", System::Other),
            ("", System::Other),
        ];
        for (text, system) in cases {
            assert_eq!(System::of_release(text), system, "{text}");
        }
    }
}
