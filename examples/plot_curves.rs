//! Draws what a graph has learned as one SVG: the rewards of every `grpo` node, the loss of every `sft` node and the
//! accuracies of all evaluations. It knows of the store only what `ruminate plan`, `show` and `results` print.

mod program;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result, bail, ensure};
use plotters::coord::Shift;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use program::Program;

const USAGE: &str = "usage: plot_curves GRAPH [-o FILE.svg] [--store DIR]";

const WIDTH: u32 = 900;
const CURVES_HEIGHT: u32 = 290;
/// An evaluation panel without its rows: legend, axis and margins.
const ACCURACY_FRAME: u32 = 100;
const ACCURACY_ROW: u32 = 25;
/// What stands between the evaluations of two models, in rows.
const ACCURACY_GAP: f64 = 0.5;
/// Left of an evaluation its name, right of it its figure.
const ACCURACY_SIDES: (i32, i32) = (150, 120);

const INK: RGBColor = RGBColor(51, 51, 51);
const GRID: RGBColor = RGBColor(228, 228, 228);
const PALETTE: [RGBColor; 6] = [
    RGBColor(47, 103, 160),
    RGBColor(207, 112, 35),
    RGBColor(70, 136, 84),
    RGBColor(126, 89, 158),
    RGBColor(176, 62, 70),
    RGBColor(112, 112, 112),
];

/// What an axis calls a figure, and its field in the metrics.
type Figure = (&'static str, &'static str);
type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;

fn main() -> ExitCode {
    program::exit(run())
}

fn run() -> Result<()> {
    let options = Options::parse(std::env::args().skip(1))?;
    let panels = Source { program: Program::find()?, options: &options }.panels()?;
    draw(&panels, &options.out).with_context(|| format!("cannot write `{}`", options.out.display()))?;
    eprintln!("wrote {}", options.out.display());
    Ok(())
}

/// What the user asked for.
struct Options {
    graph: String,
    out: PathBuf,
    store: Vec<String>,
}

impl Options {
    fn parse(mut arguments: impl Iterator<Item = String>) -> Result<Self> {
        let (mut graph, mut out, mut store) = (None, None, Vec::new());
        while let Some(argument) = arguments.next() {
            let mut value = || arguments.next().with_context(|| format!("`{argument}` needs a value; {USAGE}"));
            match argument.as_str() {
                "-o" => out = Some(PathBuf::from(value()?)),
                "--store" => store = vec!["--store".to_owned(), value()?],
                name if name.starts_with('-') || graph.is_some() => bail!("unexpected argument `{name}`; {USAGE}"),
                _ => graph = Some(argument),
            }
        }
        let graph = graph.context(USAGE)?;
        let stem = Path::new(&graph).file_stem().unwrap_or_default();
        let out = out.unwrap_or_else(|| Path::new(stem).with_extension("svg"));
        Ok(Self { graph, out, store })
    }
}

/// One strip of the picture, over its whole width.
enum Panel {
    /// Charts of steps side by side, with one legend: a node has the same colour in all of them.
    Curves { title: &'static str, nodes: Vec<String>, charts: Vec<Chart> },
    /// The evaluations, one row for each.
    Accuracy(Vec<Evaluation>),
}

/// A figure over the steps of training: for each node its points, in the order of the nodes.
struct Chart {
    figure: &'static str,
    lines: Vec<Vec<(f64, f64)>>,
}

/// What `ruminate results --json` says of an evaluation; shares between 0 and 1.
#[derive(Deserialize)]
struct Evaluation {
    model: String,
    data: String,
    n: u64,
    accuracy: Option<f64>,
    ci_low: Option<f64>,
    ci_high: Option<f64>,
    temperature: Option<f64>,
}

impl Evaluation {
    fn decoding(&self) -> String {
        match self.temperature.unwrap_or_default() {
            0.0 => "greedy".to_owned(),
            temperature => format!("sampled at temperature {temperature}"),
        }
    }
}

/// The program's answers about one graph.
struct Source<'a> {
    program: Program,
    options: &'a Options,
}

impl Source<'_> {
    fn ask<T: DeserializeOwned>(&self, command: &str, node: Option<&str>) -> Result<Vec<T>> {
        let words = [command, &self.options.graph].into_iter().chain(node);
        let words = words.chain(self.options.store.iter().map(String::as_str)).chain(["--json"]);
        let values = self.program.json(&words.collect::<Vec<_>>())?.into_iter().map(T::deserialize);
        values.collect::<Result<_, _>>().with_context(|| format!("`ruminate {command}` printed an unknown form"))
    }

    fn curves(&self, title: &'static str, nodes: Vec<String>, figures: &[Figure]) -> Result<Option<Panel>> {
        let mut charts: Vec<_> = figures.iter().map(|(figure, _)| Chart { figure, lines: Vec::new() }).collect();
        for node in &nodes {
            let steps: Vec<Value> = self.ask("show", Some(&format!("{node}.metrics")))?;
            for (chart, (_, field)) in charts.iter_mut().zip(figures) {
                let point = |step: &Value| Some((step["step"].as_f64()?, step[field].as_f64()?));
                chart.lines.push(steps.iter().filter_map(point).collect());
            }
        }
        Ok((!nodes.is_empty()).then_some(Panel::Curves { title, nodes, charts }))
    }

    /// The panels of all nodes that have a result.
    fn panels(&self) -> Result<Vec<Panel>> {
        let plan = self.ask::<Value>("plan", None)?.pop().unwrap_or_default();
        let nodes: Vec<_> = plan["nodes"].as_array().into_iter().flatten().collect();
        let done = |kind| nodes.iter().filter(move |node| node["kind"] == kind && node["state"] == "hit");
        let names = |kind| done(kind).filter_map(|node| Some(node["node"].as_str()?.to_owned())).collect();
        let rewards = [("mean reward", "reward_mean"), ("accuracy reward", "reward_accuracy")];
        let losses = [("loss per target token, nats", "loss")];
        let rewards = self.curves("Reward during GRPO", names("grpo"), &rewards)?;
        let losses = self.curves("Loss during SFT", names("sft"), &losses)?;
        let mut panels: Vec<_> = rewards.into_iter().chain(losses).collect();
        if done("eval").next().is_some() {
            let evaluations: Vec<Vec<_>> = self.ask("results", None)?;
            panels.push(Panel::Accuracy(evaluations.into_iter().flatten().collect()));
        }
        let graph = &self.options.graph;
        let drawn = |node: &&Value| ["grpo", "sft", "eval"].iter().any(|kind| node["kind"] == *kind);
        ensure!(nodes.iter().any(drawn), "`{graph}` has nothing to draw: no node of kind `grpo`, `sft` or `eval`");
        ensure!(!panels.is_empty(), "nothing of `{graph}` to draw has a result yet; run `ruminate run {graph}`");
        Ok(panels)
    }
}

fn draw(panels: &[Panel], path: &Path) -> Result<()> {
    let height = |panel: &Panel| match panel {
        Panel::Curves { .. } => CURVES_HEIGHT,
        Panel::Accuracy(evaluations) => ACCURACY_FRAME + ACCURACY_ROW * evaluations.len() as u32,
    };
    let heights: Vec<u32> = panels.iter().map(height).collect();
    let mut rest = SVGBackend::new(path, (WIDTH, heights.iter().sum())).into_drawing_area();
    rest.fill(&WHITE)?;
    for (panel, height) in panels.iter().zip(heights) {
        let (strip, below) = rest.split_vertically(height);
        rest = below;
        match panel {
            Panel::Curves { title, nodes, charts } => {
                let area = heading(&strip, title, nodes)?;
                for (chart, area) in charts.iter().zip(area.split_evenly((1, charts.len()))) {
                    draw_curves(chart, &area)?;
                }
            }
            Panel::Accuracy(evaluations) => draw_accuracy(evaluations, &strip)?,
        }
    }
    rest.present()?;
    Ok(())
}

fn text(size: u32, horizontal: HPos, vertical: VPos) -> TextStyle<'static> {
    ("sans-serif", size).into_font().color(&INK).pos(Pos::new(horizontal, vertical))
}

fn colour(index: usize) -> RGBColor {
    PALETTE[index % PALETTE.len()]
}

/// Writes a panel's title and, right of it, what its colours mean; returns the area below.
fn heading<'a>(area: &Area<'a>, title: &str, names: &[String]) -> Result<Area<'a>> {
    let (head, below) = area.split_vertically(36);
    let style = text(18, HPos::Left, VPos::Center);
    let bold = TextStyle { font: style.font.style(FontStyle::Bold), ..style };
    head.draw(&Text::new(title.to_owned(), (16, 20), bold))?;
    let style = text(16, HPos::Right, VPos::Center);
    let mut right = WIDTH as i32 - 24;
    for (index, name) in names.iter().enumerate().rev() {
        head.draw(&Text::new(name.clone(), (right, 20), style.clone()))?;
        let dot = right - head.estimate_text_size(name, &style)?.0 as i32 - 12;
        head.draw(&Circle::new((dot, 20), 5, colour(index).filled()))?;
        right = dot - 22;
    }
    Ok(below)
}

fn draw_curves(chart: &Chart, area: &Area<'_>) -> Result<()> {
    let points = || chart.lines.iter().flatten();
    let steps = points().map(|point| point.0).fold(2.0, f64::max);
    let low = points().map(|point| point.1).fold(0.0, f64::min);
    let high = points().map(|point| point.1).fold(0.01, f64::max);
    let mut context = ChartBuilder::on(area)
        .margin(8)
        .margin_right(24)
        .x_label_area_size(44)
        .y_label_area_size(62)
        .build_cartesian_2d(0.0..steps, 1.05 * low..1.05 * high)?;
    let mut mesh = context.configure_mesh();
    mesh.x_desc("step").y_desc(chart.figure).axis_style(GRID).bold_line_style(GRID);
    mesh.max_light_lines(0).x_labels(6).y_labels(6).label_style(text(15, HPos::Left, VPos::Top));
    mesh.x_label_formatter(&|step| format!("{step}")).axis_desc_style(text(16, HPos::Left, VPos::Top)).draw()?;
    for (index, line) in chart.lines.iter().enumerate() {
        context.draw_series(LineSeries::new(line.iter().copied(), colour(index).mix(0.28)))?;
        context.draw_series(LineSeries::new(smoothed(line), colour(index).stroke_width(2)))?;
    }
    Ok(())
}

/// The mean over a tenth of the run around each point, over less where it begins; short runs stay as they are.
fn smoothed(line: &[(f64, f64)]) -> Vec<(f64, f64)> {
    let half = |index: usize| (line.len() / 20).min(index);
    let mean = |part: &[(f64, f64)]| part.iter().map(|point| point.1).sum::<f64>() / part.len() as f64;
    let around = |index: usize| &line[index - half(index)..line.len().min(index + half(index) + 1)];
    line.iter().enumerate().map(|(index, point)| (point.0, mean(around(index)))).collect()
}

fn draw_accuracy(evaluations: &[Evaluation], area: &Area<'_>) -> Result<()> {
    let decodings = distinct(evaluations.iter().map(Evaluation::decoding));
    let several = distinct(evaluations.iter().map(|evaluation| evaluation.data.clone())).len() > 1;
    let name = |evaluation: &Evaluation| match several {
        true => format!("{} on {}", evaluation.model, evaluation.data),
        false => evaluation.model.clone(),
    };
    let names = distinct(evaluations.iter().map(name));
    let rows = evaluations.len() as f64 + ACCURACY_GAP * names.len() as f64;
    let area = heading(area, "Accuracy with its 95 % interval", &decodings)?;
    let mut context = ChartBuilder::on(&area)
        .margin(8)
        .margin_left(ACCURACY_SIDES.0)
        .margin_right(ACCURACY_SIDES.1)
        .x_label_area_size(44)
        .build_cartesian_2d(0.0..100.0, rows..0.0)?;
    let problems = distinct(evaluations.iter().map(|evaluation| format!("{} problems", evaluation.n))).join(" or ");
    let mut mesh = context.configure_mesh();
    mesh.disable_y_mesh().x_desc(format!("accuracy, % of {problems}")).axis_style(GRID).bold_line_style(GRID);
    mesh.max_light_lines(0).label_style(text(15, HPos::Left, VPos::Top));
    mesh.x_label_formatter(&|share| format!("{share}")).axis_desc_style(text(16, HPos::Left, VPos::Top)).draw()?;
    let mut row = 0.5 + ACCURACY_GAP / 2.0;
    for label in &names {
        let group: Vec<_> = evaluations.iter().filter(|evaluation| name(evaluation) == *label).collect();
        let middle = row + (group.len() - 1) as f64 / 2.0;
        let style = text(16, HPos::Right, VPos::Center);
        context.draw_series([EmptyElement::at((0.0, middle)) + Text::new(label.clone(), (-12, 0), style.clone())])?;
        for evaluation in group {
            let index = decodings.iter().position(|decoding| *decoding == evaluation.decoding()).unwrap_or_default();
            if let Some(accuracy) = evaluation.accuracy {
                let ends = [evaluation.ci_low, evaluation.ci_high].map(|end| (100.0 * end.unwrap_or(accuracy), row));
                context.draw_series([PathElement::new(ends, colour(index).stroke_width(2))])?;
                context.draw_series([Circle::new((100.0 * accuracy, row), 5, colour(index).filled())])?;
                let figure = Text::new(format!("{:.1} %", 100.0 * accuracy), (70, 0), style.clone());
                context.draw_series([EmptyElement::at((100.0, row)) + figure])?;
            }
            row += 1.0;
        }
        row += ACCURACY_GAP;
    }
    Ok(())
}

/// Each value once, in the order of their first appearance.
fn distinct(values: impl Iterator<Item = String>) -> Vec<String> {
    values.fold(Vec::new(), |mut all, value| {
        if !all.contains(&value) {
            all.push(value);
        }
        all
    })
}
