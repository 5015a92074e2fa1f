//! `ruminate export`: a node's records as a file, or its model as a folder in Hugging Face layout.

use std::fs;
use std::io::Write;

use ruminate_flow::plan;
use ruminate_flow::stage::PortKind;
use ruminate_flow::table;

use crate::arguments::ExportArguments;
use crate::failure::Failure;
use crate::files::{make_parent, write_folder};
use crate::format::{bytes, plural};
use crate::project::{Output, Project, run_command};
use crate::terminal;

/// Writes what `NODE[.PORT]` has given to `PATH`.
///
/// # Errors
/// Unknown node, port or file type; an occupied folder; nothing complete in the store yet; a disk that cannot be written.
pub(crate) fn export(arguments: &ExportArguments) -> Result<(), Failure> {
    let project = Project::open(&arguments.project)?;
    let output = project.find_output(&arguments.node)?;
    check_target(arguments, output)?;
    let node = project.node(output.node);
    let missing = || {
        let command = run_command(&arguments.project, &node.name);
        Failure::Failed(format!("`{}` has not been computed in full yet; run `{command}`", node.name))
    };
    let found = plan::outputs(&project.graph, &project.store, output.node)?.filter(|found| found.complete);
    let found = found.ok_or_else(missing)?;
    let path = arguments.path.as_path();
    let written = match output.kind {
        PortKind::Records => {
            let records = found.records.get(output.port).ok_or_else(missing)?;
            let schema = node.stage.schemas.get(output.port).cloned().unwrap_or_default();
            make_parent(path)?;
            table::write(path, &schema, records, &project.store)?;
            plural(records.len() as u64, "record")
        }
        PortKind::Model => {
            let model = found.models.get(output.port).ok_or_else(missing)?;
            bytes(write_folder(path, &model.files)?)
        }
    };
    writeln!(terminal::stdout(), "{}: {written}", path.display())?;
    Ok(())
}

/// Refuses a target that does not suit the output, before anything is read.
fn check_target(arguments: &ExportArguments, output: Output) -> Result<(), Failure> {
    let path = &arguments.path;
    let shown = path.display();
    match output.kind {
        PortKind::Records => {
            if !matches!(path.extension().and_then(|extension| extension.to_str()), Some("parquet" | "jsonl")) {
                let message = format!(
                    "`{}` gives records: expected a path that ends in .parquet or .jsonl, got `{shown}`",
                    arguments.node
                );
                return Err(Failure::Input(message));
            }
            if path.is_dir() {
                return Err(Failure::Input(format!("`{shown}` is a folder; name a file")));
            }
        }
        PortKind::Model => {
            if path.exists() && !path.is_dir() {
                return Err(Failure::Input(format!(
                    "`{}` gives a model: expected a folder, but `{shown}` is a file",
                    arguments.node
                )));
            }
            if !arguments.force && fs::read_dir(path).is_ok_and(|mut entries| entries.next().is_some()) {
                return Err(Failure::Input(format!(
                    "the folder `{shown}` is not empty; name another or add --force to replace it"
                )));
            }
        }
    }
    Ok(())
}
