//! The check of a condition against a schema: which fields it names, and whether their kinds fit what is done with them.
//! It reads the library's syntax tree and evaluates nothing.

use std::collections::BTreeSet;

use minijinja::Environment;
use minijinja::machinery::ast::{BinOpKind, CallArg, CompareOpKind, Expr, Test, UnaryOpKind};
use minijinja::value::ValueKind;

use super::Mistake;
use crate::diagnostic::{list, nearest};
use crate::record::{FieldKind, Schema};
use crate::table;

/// What the check finds.
#[derive(Default)]
pub(super) struct Found {
    /// The fields that the condition names.
    pub(super) fields: BTreeSet<String>,
    /// Those with which it calculates.
    pub(super) calculated: BTreeSet<String>,
    pub(super) mistakes: Vec<Mistake>,
}

/// Checks a condition against the kinds of the fields.
pub(super) fn check(expression: &Expr<'_>, schema: &Schema, environment: &Environment<'static>) -> Found {
    let mut check = Check { environment, schema, found: Found::default(), broken: false };
    check.kind(expression);
    check.found
}

/// Finds the kinds of all parts of a condition: [`FieldKind::Json`] is what is not known before the run.
struct Check<'a> {
    environment: &'a Environment<'static>,
    schema: &'a Schema,
    found: Found,
    /// Something is not there at all: what follows from that is not reported.
    broken: bool,
}

impl Check<'_> {
    fn kind(&mut self, expression: &Expr<'_>) -> FieldKind {
        match expression {
            Expr::Var(variable) => self.field(variable.id),
            Expr::Const(constant) => kind_of(&constant.value),
            Expr::UnaryOp(unary) => match unary.op {
                UnaryOpKind::Not => {
                    self.kind(&unary.expr);
                    FieldKind::Bool
                }
                UnaryOpKind::Neg => self.operand(&unary.expr),
            },
            Expr::BinOp(binary) => self.binary(binary.op, &binary.left, &binary.right),
            Expr::Compare(compare) => {
                let mut left = &compare.expr;
                for next in &compare.ops {
                    self.compare(next.op, left, &next.expr);
                    left = &next.expr;
                }
                FieldKind::Bool
            }
            Expr::IfExpr(choice) => {
                self.kind(&choice.test_expr);
                let yes = self.kind(&choice.true_expr);
                let no = choice.false_expr.as_ref().map(|expression| self.kind(expression));
                no.map_or(yes.clone(), |no| table::join(yes, no))
            }
            Expr::Filter(filter) => {
                self.known("filter", filter.name);
                let input = filter.expr.as_ref().map_or(FieldKind::Json, |expression| self.kind(expression));
                let arguments = self.arguments(&filter.args);
                self.filtered(filter.name, input, arguments.into_iter().next())
            }
            Expr::Test(test) => self.test(test),
            Expr::GetAttr(attribute) => {
                self.kind(&attribute.expr);
                FieldKind::Json
            }
            Expr::GetItem(item) => {
                self.kind(&item.subscript_expr);
                element(self.kind(&item.expr)).unwrap_or(FieldKind::Json)
            }
            Expr::Slice(slice) => {
                for part in [&slice.start, &slice.stop, &slice.step].into_iter().flatten() {
                    self.kind(part);
                }
                self.kind(&slice.expr)
            }
            Expr::Call(call) => {
                // The name of a function is no field.
                if !matches!(call.expr, Expr::Var(_)) {
                    self.kind(&call.expr);
                }
                self.arguments(&call.args);
                FieldKind::Json
            }
            Expr::List(list) => self.list(&list.items),
            Expr::Tuple(tuple) => self.list(&tuple.items),
            Expr::Map(map) => {
                map.keys.iter().chain(&map.values).for_each(|part| _ = self.kind(part));
                FieldKind::Json
            }
        }
    }

    fn test(&mut self, test: &Test<'_>) -> FieldKind {
        self.known("test", test.name);
        self.kind(&test.expr);
        self.arguments(&test.args);
        if ORDER_TESTS.contains(&test.name) {
            let message = format!("the test `is {}` compares values of any types", test.name);
            self.found.mistakes.push(Mistake::new(message, Some("write `<`, `<=`, `>` or `>=`")));
        }
        FieldKind::Bool
    }

    fn field(&mut self, name: &str) -> FieldKind {
        if name == crate::stages::fields::ID && !self.schema.contains_key(name) {
            let help = "make a field of it before, with a node of kind `select`: `rename = { name = \"id\" }`";
            self.found
                .mistakes
                .push(Mistake::new("`id` names the record itself and is no field".to_owned(), Some(help)));
            return FieldKind::Text;
        }
        self.found.fields.insert(name.to_owned());
        self.schema.get(name).cloned().unwrap_or(FieldKind::Json)
    }

    fn list(&mut self, items: &[Expr<'_>]) -> FieldKind {
        let kinds: Vec<FieldKind> = items.iter().map(|item| self.kind(item)).collect();
        FieldKind::List(Box::new(kinds.into_iter().reduce(table::join).unwrap_or(FieldKind::Json)))
    }

    fn arguments(&mut self, arguments: &[CallArg<'_>]) -> Vec<FieldKind> {
        let expressions = arguments.iter().map(|argument| match argument {
            CallArg::Pos(expression)
            | CallArg::Kwarg(_, expression)
            | CallArg::PosSplat(expression)
            | CallArg::KwargSplat(expression) => expression,
        });
        expressions.map(|expression| self.kind(expression)).collect()
    }

    fn binary(&mut self, op: BinOpKind, left: &Expr<'_>, right: &Expr<'_>) -> FieldKind {
        let compared = match op {
            BinOpKind::Eq => CompareOpKind::Eq,
            BinOpKind::Ne => CompareOpKind::Ne,
            BinOpKind::Lt => CompareOpKind::Lt,
            BinOpKind::Lte => CompareOpKind::Lte,
            BinOpKind::Gt => CompareOpKind::Gt,
            BinOpKind::Gte => CompareOpKind::Gte,
            BinOpKind::In => CompareOpKind::In,
            // One of the two, as it is.
            BinOpKind::ScAnd | BinOpKind::ScOr => return table::join(self.kind(left), self.kind(right)),
            BinOpKind::Concat => {
                self.kind(left);
                self.kind(right);
                return FieldKind::Text;
            }
            // Texts are added too.
            BinOpKind::Add => return table::join(self.operand(left), self.operand(right)),
            _ => {
                self.operand(left);
                self.operand(right);
                return FieldKind::Float;
            }
        };
        self.compare(compared, left, right);
        FieldKind::Bool
    }

    /// Something with which is calculated.
    fn operand(&mut self, expression: &Expr<'_>) -> FieldKind {
        let before = std::mem::take(&mut self.found.fields);
        let kind = self.kind(expression);
        self.found.calculated.extend(self.found.fields.iter().cloned());
        self.found.fields.extend(before);
        kind
    }

    fn compare(&mut self, op: CompareOpKind, left: &Expr<'_>, right: &Expr<'_>) {
        let kinds = (self.kind(left), self.kind(right));
        for (side, other) in [(left, right), (right, left)] {
            if is_none(side) {
                let test = if matches!(op, CompareOpKind::Eq) { "is none" } else { "is not none" };
                let help = format!("write `{} {test}`", bare(other));
                let message = "nothing equals `none`: a field without a value ends the comparison".to_owned();
                self.found.mistakes.push(Mistake::new(message, Some(&help)));
                return;
            }
        }
        let message = match op {
            CompareOpKind::Lt | CompareOpKind::Lte | CompareOpKind::Gt | CompareOpKind::Gte => {
                return self.order((left, kinds.0), (right, kinds.1));
            }
            CompareOpKind::In | CompareOpKind::NotIn => match (&kinds.0, &kinds.1) {
                (_, FieldKind::Json) | (FieldKind::Text | FieldKind::Json, FieldKind::Text) => return,
                (kind, FieldKind::List(inner)) if comparable(kind, inner) => return,
                (kind, FieldKind::List(inner)) => {
                    format!("{} is {kind} and never in a list of {inner}", source(left))
                }
                (kind, FieldKind::Text) => format!("{} is {kind} and never in a text", source(left)),
                (_, kind) => {
                    let message = format!("{} is {kind}: nothing is `in` it", source(right));
                    self.found.mistakes.push(Mistake::new(message, Some("`in` looks into text and lists")));
                    return;
                }
            },
            CompareOpKind::Eq | CompareOpKind::Ne if comparable(&kinds.0, &kinds.1) => return,
            CompareOpKind::Eq | CompareOpKind::Ne => {
                format!("{} is {} and {} is {}: they are never equal", source(left), kinds.0, source(right), kinds.1)
            }
        };
        let help = text_as_number((left, &kinds.0), (right, &kinds.1));
        self.found.mistakes.push(Mistake::new(message, help.as_deref()));
    }

    /// `<` and its like: numbers with numbers, text with text.
    fn order(&mut self, left: (&Expr<'_>, FieldKind), right: (&Expr<'_>, FieldKind)) {
        let number = |kind: &FieldKind| matches!(kind, FieldKind::Int | FieldKind::Float);
        let text = |kind: &FieldKind| *kind == FieldKind::Text;
        if (number(&left.1) && number(&right.1)) || (text(&left.1) && text(&right.1)) {
            return;
        }
        let unknown = [&left, &right].into_iter().find(|side| side.1 == FieldKind::Json);
        let (message, help) = match unknown {
            // A field that is not there at all is reported by the engine.
            Some((Expr::Var(variable), _)) if !self.schema.contains_key(variable.id) => return,
            Some(_) if self.broken => return,
            Some((side, _)) => {
                let (shown, side) = (source(side), bare(side));
                (
                    format!(
                        "the kind of {shown} is not known before the run, and values of different kinds have no order"
                    ),
                    format!("write `{side} | float` for a number, `{side} | string` for text"),
                )
            }
            None => (
                format!("{} is {} and {} is {}: they have no order", source(left.0), left.1, source(right.0), right.1),
                text_as_number((left.0, &left.1), (right.0, &right.1))
                    .unwrap_or_else(|| "numbers are compared with numbers, text with text".to_owned()),
            ),
        };
        self.found.mistakes.push(Mistake::new(message, Some(&help)));
    }

    /// The kind of what a filter gives.
    fn filtered(&mut self, name: &str, input: FieldKind, argument: Option<FieldKind>) -> FieldKind {
        match name {
            "length" | "count" => {
                if matches!(input, FieldKind::Bool | FieldKind::Int | FieldKind::Float) {
                    let message =
                        format!("`{name}` counts the letters of text or the values of a list, not of {input}");
                    self.found.mistakes.push(Mistake::new(message, None));
                }
                FieldKind::Int
            }
            "int" => FieldKind::Int,
            "float" | "abs" | "round" | "sum" => FieldKind::Float,
            "bool" => FieldKind::Bool,
            "lower" | "upper" | "title" | "capitalize" | "trim" | "replace" | "string" | "join" | "format" => {
                FieldKind::Text
            }
            "split" | "lines" => FieldKind::List(Box::new(FieldKind::Text)),
            "first" | "last" | "min" | "max" => element(input).unwrap_or(FieldKind::Json),
            "default" | "d" => match (input, argument) {
                (FieldKind::Json, _) | (_, None) => FieldKind::Json,
                (input, Some(argument)) => table::join(input, argument),
            },
            "sort" | "unique" | "list" | "reverse" if matches!(input, FieldKind::List(_)) => input,
            _ => FieldKind::Json,
        }
    }

    /// Complains of a filter or test that the library has not.
    fn known(&mut self, what: &str, name: &str) {
        let asked = format!("name is {what}");
        let known = self
            .environment
            .compile_expression(&asked)
            .and_then(|expression| expression.eval(minijinja::context! { name => name }).map(|known| known.is_true()));
        if known.unwrap_or(false) {
            return;
        }
        self.broken = true;
        let names: &[&str] = if what == "filter" { &FILTERS } else { &TESTS };
        let help = match nearest(name, names.iter().copied()) {
            Some(near) => format!("did you mean `{near}`?"),
            None => format!("there are {}, ...", list(names.iter().copied())),
        };
        self.found.mistakes.push(Mistake::new(format!("there is no {what} `{name}`"), Some(&help)));
    }
}

/// The filters that conditions need most.
const FILTERS: [&str; 12] =
    ["length", "lower", "upper", "trim", "float", "int", "string", "default", "first", "last", "max", "min"];
/// The tests that conditions need most.
const TESTS: [&str; 7] = ["none", "defined", "string", "number", "startingwith", "endingwith", "containing"];
/// Tests that put values in the library's own order.
const ORDER_TESTS: [&str; 12] =
    ["lt", "lessthan", "<", "le", "lessequal", "<=", "gt", "greaterthan", ">", "ge", "greaterequal", ">="];

/// Whether values of the two kinds can be equal. True and false equal 1 and 0.
fn comparable(one: &FieldKind, other: &FieldKind) -> bool {
    let number = |kind: &FieldKind| matches!(kind, FieldKind::Bool | FieldKind::Int | FieldKind::Float);
    one.accepts(other) || other.accepts(one) || (number(one) && number(other))
}

fn element(kind: FieldKind) -> Option<FieldKind> {
    match kind {
        FieldKind::List(inner) => Some(*inner),
        FieldKind::Text => Some(FieldKind::Text),
        _ => None,
    }
}

fn is_none(expression: &Expr<'_>) -> bool {
    matches!(expression, Expr::Const(constant) if constant.value.is_none())
}

fn kind_of(value: &minijinja::Value) -> FieldKind {
    match value.kind() {
        ValueKind::Bool => FieldKind::Bool,
        ValueKind::Number if value.is_integer() => FieldKind::Int,
        ValueKind::Number => FieldKind::Float,
        ValueKind::String => FieldKind::Text,
        ValueKind::Seq => {
            let kinds = value.try_iter().into_iter().flatten().map(|value| kind_of(&value));
            FieldKind::List(Box::new(kinds.reduce(table::join).unwrap_or(FieldKind::Json)))
        }
        _ => FieldKind::Json,
    }
}

/// What to do where text stands against a number.
fn text_as_number(one: (&Expr<'_>, &FieldKind), other: (&Expr<'_>, &FieldKind)) -> Option<String> {
    let number = |kind: &FieldKind| matches!(kind, FieldKind::Int | FieldKind::Float);
    let text = match (one.1, other.1) {
        (FieldKind::Text, kind) if number(kind) => one.0,
        (kind, FieldKind::Text) if number(kind) => other.0,
        _ => return None,
    };
    let constant = matches!(text, Expr::Const(_));
    let help = if constant {
        "a number stands without quotes".to_owned()
    } else {
        format!("text stands in quotes; `{} | float` reads text as a number", bare(text))
    };
    Some(help)
}

/// A part of a condition in backticks, for a message.
fn source(expression: &Expr<'_>) -> String {
    format!("`{}`", bare(expression))
}

/// A part of a condition; `...` for what is long.
fn bare(expression: &Expr<'_>) -> String {
    fn text(expression: &Expr<'_>) -> Option<String> {
        Some(match expression {
            Expr::Var(variable) => variable.id.to_owned(),
            Expr::Const(constant) => match constant.value.as_str() {
                Some(text) => format!("\"{text}\""),
                None => constant.value.to_string(),
            },
            Expr::GetAttr(attribute) => format!("{}.{}", text(&attribute.expr)?, attribute.name),
            Expr::GetItem(item) => format!("{}[{}]", text(&item.expr)?, text(&item.subscript_expr)?),
            Expr::Filter(filter) => format!("{} | {}", text(filter.expr.as_ref()?)?, filter.name),
            _ => return None,
        })
    }
    text(expression).unwrap_or_else(|| "(...)".to_owned())
}
