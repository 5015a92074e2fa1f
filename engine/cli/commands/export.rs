//! `ruminate export`: a node's records as a file, or its model as a folder in Hugging Face layout.

use std::fs;
use std::io::Write;

use ruminate_flow::plan::{self, Item, More};
use ruminate_flow::stage::PortKind;
use ruminate_flow::table::{self, WriteFormat};
use ruminate_flow::target::{MayReplace, only_empty};

use crate::arguments::ExportArguments;
use crate::failure::Failure;
use crate::files::{make_parent, only_model, write_folder};
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
    let written = match output.kind {
        PortKind::Records => records(&project, output, arguments)?,
        PortKind::Model => model(&project, output, arguments)?,
    };
    let Some(written) = written else {
        let command = run_command(&arguments.project, &node.name);
        let message = format!("`{}` has not been computed in full yet; run `{command}`", node.name);
        return Err(Failure::Failed(message));
    };
    writeln!(terminal::stdout(), "{}: {written}", arguments.path.display())?;
    Ok(())
}

/// Writes an output's records as they come. `None`: not all of them are in the store, and nothing is written.
fn records(project: &Project, output: Output, arguments: &ExportArguments) -> Result<Option<String>, Failure> {
    let path = arguments.path.as_path();
    let format = WriteFormat::of(path).ok_or_else(|| {
        let (node, shown) = (&arguments.node, path.display());
        Failure::Input(format!(
            "`{node}` gives records: expected a file that ends in {}, got `{shown}`",
            WriteFormat::ENDINGS
        ))
    })?;
    let schema = project.node(output.node).stage.schemas.get(output.port).cloned().unwrap_or_default();
    // Made with the first records: where there is nothing to export, no folder appears.
    let create = || -> Result<table::Writer<'_>, Failure> {
        make_parent(path)?;
        Ok(table::Writer::create(path, format, &schema, None, &project.store)?)
    };
    let (mut writer, mut number, mut failed) = (None, 0, None);
    let complete = plan::stream(&project.graph, &project.store, &[output.node], &mut |_, item| {
        let Item::Records(port, records) = item else { return More::Continue };
        if port != output.port {
            return More::Continue;
        }
        number += records.len() as u64;
        let opened = match writer.take() {
            Some(writer) => Ok(writer),
            None => create(),
        };
        match opened.and_then(|opened| Ok(writer.insert(opened).write(&records)?)) {
            Ok(()) => More::Continue,
            Err(error) => {
                failed = Some(error);
                More::Enough
            }
        }
    })?;
    if let Some(error) = failed {
        return Err(error);
    }
    if complete.get(&output.node) != Some(&true) {
        return Ok(None);
    }
    match writer {
        Some(writer) => writer.finish()?,
        None => create()?.finish()?,
    };
    Ok(Some(plural(number, "record")))
}

/// Writes an output's model. `None`: it is not in the store, and nothing is written.
fn model(project: &Project, output: Output, arguments: &ExportArguments) -> Result<Option<String>, Failure> {
    let mut found = None;
    plan::stream(&project.graph, &project.store, &[output.node], &mut |_, item| match item {
        Item::Model(port, model) if port == output.port => {
            found = Some(model);
            More::Enough
        }
        _ => More::Continue,
    })?;
    let may_replace: MayReplace = if arguments.force { only_model } else { only_empty };
    found.map(|model| Ok(bytes(write_folder(&arguments.path, &model.files, may_replace)?))).transpose()
}

/// Refuses a target that does not suit the output, before anything is read.
fn check_target(arguments: &ExportArguments, output: Output) -> Result<(), Failure> {
    let path = &arguments.path;
    let shown = path.display();
    match output.kind {
        PortKind::Records => {
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
            let holds_something = fs::read_dir(path).is_ok_and(|mut entries| entries.next().is_some());
            match only_model(path) {
                _ if !holds_something => {}
                Ok(()) if arguments.force => {}
                Ok(()) => {
                    let message = "holds a model already; name another or add --force to replace it";
                    return Err(Failure::Input(format!("the folder `{shown}` {message}")));
                }
                Err(error) => return Err(Failure::Input(format!("the folder `{shown}` is not empty: {error}"))),
            }
        }
    }
    Ok(())
}
