//! Making plugins: a new folder, a build, cases that a component must pass, a trial over rows without a graph. It knows
//! folders and compilers; how a plugin is run is the business of the modules above. Modules in order.

mod error;
mod names;
mod project;
mod templates;
mod tools;
mod component;
mod build;
mod place;
mod trial;
mod cases;

pub use build::{Built, build};
pub use cases::{Case, Difference, Line, Outcome, check, find_cases};
pub use error::AuthorError;
pub use project::{Language, Project, config_of_toml};
pub use templates::{New, create};
pub use trial::{Answer, Limits, Tally, Trial, TrialError, Verdict, faults};

#[cfg(test)]
mod tests;
