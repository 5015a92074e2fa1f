//! Why a call into a plugin failed, and what to write into the ledger about it. Turns wasmtime's errors into sentences
//! about the plugin; does not know what is done about them.

use wasmtime::Trap;

use crate::frames;
use crate::limits::Limits;

/// Why a call into a plugin failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum CallError {
    /// It burned more fuel than this.
    Fuel(u64),
    /// It ran past its deadline of so many milliseconds: depends on the machine, so it is no verdict on the record.
    Timeout(u128),
    /// It asked for more than so many megabytes of memory.
    Memory(usize),
    /// It handed over more than the host takes from one call.
    TooMuch,
    /// It gave up, with a message of its own.
    Panic {
        /// The last line that it logged as an error.
        message: String,
        /// The innermost functions of its own code first.
        frames: Vec<String>,
    },
    /// It trapped.
    Trap {
        /// The name of the trap.
        message: String,
        /// The innermost functions of its own code first.
        frames: Vec<String>,
    },
    /// It returned an error.
    Refused(String),
    /// It returned something that the contract does not allow.
    Answer(String),
    /// The host failed, through no fault of the plugin.
    Host(String),
}

const STACK_EXHAUSTED: &str = "the call stack is exhausted";
/// The most characters of a text of a plugin's that are kept.
const TEXT_MAX: usize = 500;

impl CallError {
    /// What an error of wasmtime says about the plugin. `panic` is the last line that it logged as an error.
    pub(crate) fn of(error: &wasmtime::Error, panic: Option<&str>, limits: &Limits) -> Self {
        match error.downcast_ref::<Trap>() {
            Some(Trap::OutOfFuel) => CallError::Fuel(limits.fuel),
            Some(Trap::Interrupt) => CallError::Timeout(limits.timeout.as_millis()),
            Some(trap) => {
                let frames = frames::own(error);
                match panic.filter(|_| *trap == Trap::UnreachableCodeReached) {
                    Some(message) => CallError::Panic { message: message.to_owned(), frames },
                    None => CallError::Trap { message: trap_text(*trap), frames },
                }
            }
            // Without a trap, the component broke the rules of the boundary: text that is not Unicode, a bad discriminant.
            None => match causes(error) {
                cause if cause.contains("fuel allocated for hostcalls") => CallError::TooMuch,
                cause => CallError::Answer(cause),
            },
        }
    }

    /// Whether the same call fails the same way on every machine.
    pub(crate) fn deterministic(&self) -> bool {
        !matches!(self, CallError::Timeout(_) | CallError::Host(_))
    }

    /// The reason for the ledger: the same text for the same cause, in one line of bounded length.
    pub(crate) fn reason(&self) -> String {
        let reason = match self {
            CallError::Fuel(limit) => {
                format!("plugin ran out of fuel: one record needs more than {limit} (option `fuel`)")
            }
            CallError::Timeout(limit) => format!("plugin ran longer than {limit} ms (option `timeout-ms`)"),
            CallError::Memory(limit) => format!("plugin asked for more than {limit} MB of memory (option `memory-mb`)"),
            CallError::TooMuch => "plugin handed over more data at once than it may (option `memory-mb`)".to_owned(),
            CallError::Panic { message, .. } => format!("plugin panicked: {message}"),
            CallError::Trap { message, .. } => format!("plugin trapped: {message}"),
            CallError::Refused(message) => format!("plugin error: {message}"),
            CallError::Answer(message) => format!("plugin gave a wrong result: {message}"),
            CallError::Host(message) => format!("the plugin could not be run: {message}"),
        };
        one_line(&reason)
    }

    /// The reason, and which of the plugin's functions were running.
    pub(crate) fn told(&self) -> String {
        match self.frames() {
            [] => self.reason(),
            frames => format!("{}, in {}", self.reason(), frames.join(" < ")),
        }
    }

    /// The innermost functions of the plugin's own code that were running.
    pub(crate) fn frames(&self) -> &[String] {
        match self {
            CallError::Panic { frames, .. } | CallError::Trap { frames, .. } => frames,
            _ => &[],
        }
    }

    /// What to do about it.
    pub(crate) fn advice(&self) -> &'static str {
        match self {
            CallError::Fuel(_) => {
                "raise `fuel` if such records are worth more work, or see with `ruminate plugin run` why it needs so much"
            }
            CallError::Timeout(_) => "raise `timeout-ms`, or lower `batch`",
            CallError::Memory(_) | CallError::TooMuch => "raise `memory-mb` if such records are worth it",
            CallError::Host(_) => "run the graph again",
            CallError::Trap { message, .. } if message == STACK_EXHAUSTED => {
                "raise `stack-kb` if such records are worth it"
            }
            CallError::Panic { .. } | CallError::Trap { .. } | CallError::Refused(_) | CallError::Answer(_) => {
                "try the plugin on this record alone with `ruminate plugin run`"
            }
        }
    }
}

/// What a plugin wrote, in one line of at most so many characters that a table can hold it.
pub(crate) fn one_line(text: &str) -> String {
    let mut line = String::new();
    let mut length = 0;
    for character in text.trim().chars() {
        let blank = character.is_whitespace() || character.is_control();
        if blank && line.ends_with(' ') {
            continue;
        }
        if length == TEXT_MAX {
            line.push_str("...");
            break;
        }
        line.push(if blank { ' ' } else { character });
        length += 1;
    }
    line
}

/// The chain of causes in one line, without the backtrace.
pub(crate) fn causes(error: &wasmtime::Error) -> String {
    let causes = error.chain().map(|cause| cause.to_string()).filter(|cause| !cause.contains('\n'));
    causes.collect::<Vec<_>>().join(": ")
}

fn trap_text(trap: Trap) -> String {
    match trap {
        Trap::StackOverflow => STACK_EXHAUSTED.to_owned(),
        Trap::UnreachableCodeReached => "it aborted without a message".to_owned(),
        other => other.to_string().trim_start_matches("wasm trap: ").to_owned(),
    }
}
