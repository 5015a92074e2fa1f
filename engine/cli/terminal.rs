//! Standard output and standard error: styles, widths, and writes that do not panic when the reader is gone. Text is
//! written with its styles; the streams strip them where there is no terminal and under `NO_COLOR`.

use std::io::{self, IsTerminal, StdoutLock, Write};

use anstream::AutoStream;
use anstyle::{AnsiColor, Style};

/// Titles and names.
pub(crate) const STRONG: Style = Style::new().bold();
/// What is there to be found, not to be read first: rules, units, sizes.
pub(crate) const QUIET: Style = Style::new().dimmed();
/// What went well.
pub(crate) const GOOD: Style = AnsiColor::Green.on_default();
/// What deserves a look.
pub(crate) const CAUTION: Style = AnsiColor::Yellow.on_default();
/// What went wrong.
pub(crate) const BAD: Style = AnsiColor::Red.on_default().bold();

/// Columns assumed where there is no terminal.
const COLUMNS_DEFAULT: usize = 100;
/// Lines longer than this are hard to read, however wide the terminal is.
const COLUMNS_MAX: usize = 140;

/// `text` in `style`.
pub(crate) fn paint(style: Style, text: impl std::fmt::Display) -> String {
    format!("{style}{text}{style:#}")
}

/// Standard output, where results go.
pub(crate) fn stdout() -> AutoStream<StdoutLock<'static>> {
    anstream::stdout().lock()
}

/// Writes one line (or several) to standard error. If nobody reads it, nobody misses it.
pub(crate) fn say(text: &str) {
    let _ = writeln!(anstream::stderr(), "{text}");
}

/// Whether progress bars can be drawn on standard error.
pub(crate) fn draws_bars() -> bool {
    io::stderr().is_terminal() && std::env::var_os("TERM").is_none_or(|name| name != "dumb")
}

/// Whether colours are wanted on standard error.
pub(crate) fn colours_on_stderr() -> bool {
    AutoStream::choice(&io::stderr()) != anstream::ColorChoice::Never
}

/// The columns of the terminal behind standard output; `None` if it is none, so that nothing is cut in a file.
pub(crate) fn columns_of_stdout() -> Option<usize> {
    columns_of(&console::Term::stdout())
}

/// The columns of the terminal behind standard error; `None` if it is none.
pub(crate) fn columns_of_stderr() -> Option<usize> {
    columns_of(&console::Term::stderr())
}

/// The width to which running text on standard output is wrapped.
pub(crate) fn text_width() -> usize {
    columns_of_stdout().unwrap_or(COLUMNS_DEFAULT)
}

fn columns_of(terminal: &console::Term) -> Option<usize> {
    terminal.size_checked().map(|(_, columns)| usize::from(columns).clamp(40, COLUMNS_MAX))
}
