//! The exports of a guest, one macro a kind. The bindings are generated in the guest's own crate, because a component is of one
//! world only; the types in them are this crate's.

/// Makes a plugin of the crate: a filter. Takes a type that is a [`Filter`](crate::Filter); stands once, at the crate's root.
#[macro_export]
macro_rules! filter {
    ($plugin:ty) => {
        $crate::__plugin!($plugin, "filter", filter, Vec<$crate::Verdict>, |plugin: &$plugin| {
            use $crate::Filter;
            Filter::check(plugin)?;
            Ok((Filter::reads(plugin), Vec::new()))
        });
    };
}

/// Makes a plugin of the crate: a mapper. Takes a type that is a [`Mapper`](crate::Mapper); stands once, at the crate's root.
#[macro_export]
macro_rules! mapper {
    ($plugin:ty) => {
        $crate::__plugin!($plugin, "mapper", transform, Vec<Vec<$crate::Row>>, |plugin: &$plugin| {
            use $crate::Mapper;
            Mapper::check(plugin)?;
            Ok((Mapper::reads(plugin), Mapper::writes(plugin)))
        });
    };
}

/// Makes a plugin of the crate: a reward. Takes a type that is a [`Reward`](crate::Reward); stands once, at the crate's root.
#[macro_export]
macro_rules! reward {
    ($plugin:ty) => {
        $crate::__plugin!($plugin, "reward", score, Vec<$crate::Score>, |plugin: &$plugin| {
            use $crate::Reward;
            Reward::check(plugin)?;
            Ok((Reward::reads(plugin), Vec::new()))
        });
    };
}

/// The exports: of the world, with its function, its answer, and what a configured plugin reads and writes.
#[doc(hidden)]
#[macro_export]
macro_rules! __plugin {
    ($plugin:ty, $world:tt, $function:ident, $answer:ty, $columns:expr) => {
        #[doc(hidden)]
        #[allow(missing_docs, unreachable_pub, clippy::all)]
        mod ruminate_plugin_bindings {
            $crate::__generate!($world);
            use super::RuminatePluginExport;
            export!(RuminatePluginExport with_types_in self);
        }

        #[doc(hidden)]
        struct RuminatePluginExport;

        impl RuminatePluginExport {
            fn plugin() -> &'static std::sync::OnceLock<$plugin> {
                static PLUGIN: std::sync::OnceLock<$plugin> = std::sync::OnceLock::new();
                &PLUGIN
            }

            fn log(level: $crate::Level, message: &str) {
                use ruminate_plugin_bindings::ruminate::plugin::logging::{Level, log};
                let level = match level {
                    $crate::Level::Trace => Level::Trace,
                    $crate::Level::Debug => Level::Debug,
                    $crate::Level::Info => Level::Info,
                    $crate::Level::Warn => Level::Warn,
                    $crate::Level::Error => Level::Error,
                };
                log(level, message);
            }
        }

        impl ruminate_plugin_bindings::exports::ruminate::plugin::lifecycle::Guest for RuminatePluginExport {
            fn describe() -> $crate::Info {
                $crate::export::describe::<$plugin>(env!("CARGO_PKG_NAME"), env!("CARGO_PKG_VERSION"), Self::log)
            }

            fn configure(config_json: String) -> Result<$crate::Setup, String> {
                $crate::export::configure(Self::plugin(), &config_json, Self::log, $columns)
            }
        }

        impl ruminate_plugin_bindings::Guest for RuminatePluginExport {
            fn $function(batch: Vec<$crate::Row>) -> Result<$answer, String> {
                $crate::export::$function(Self::plugin(), &batch)
            }
        }
    };
}

/// The bindings of a world. The text is that of `plugins/wit/plugin.wit`, so that a guest needs no such file; a test of the
/// engine compares the two.
#[doc(hidden)]
#[macro_export]
macro_rules! __generate {
    ($world:tt) => {
        $crate::wit_bindgen::generate!({
            world: $world,
            runtime_path: "::ruminate_plugin::wit_bindgen::rt",
            with: { "ruminate:plugin/types@0.1.0": ::ruminate_plugin },
            inline: r#"
// What a Ruminate plugin is: a component of one of the three worlds at the end. Nothing but `logging` can be imported.
package ruminate:plugin@0.1.0;

interface types {
  // `json` holds lists and maps as JSON text, `bytes` an image.
  variant value { null, boolean(bool), int(s64), float(f64), text(string), bytes(list<u8>), json(string) }
  record field { name: string, value: value }
  // `fields` holds only the fields asked for in `setup.reads`. `id` names their content, not the record: results are
  // cached by content, so equal rows have equal ids. The id of a returned row is not used.
  record row { id: string, fields: list<field> }
  // `kind` is one of the engine's type names: boolean, int, float, text, image, json, list<KIND>.
  record column { name: string, kind: string }
  // `config-schema` is a JSON Schema of what `configure` takes.
  record info { name: string, version: string, summary: string, config-schema: option<string> }
  record setup { reads: list<column>, writes: list<column> }
  // The reason of a drop goes to the drop ledger: the same text for the same cause, so that reasons can be counted.
  variant verdict { keep, drop(string) }
  record score { value: f64, note: option<string> }
}

interface logging {
  enum level { trace, debug, info, warn, error }
  log: func(level: level, message: string);
}

interface lifecycle {
  use types.{info, setup};
  describe: func() -> info;
  // Takes the node's `config` as JSON; an error says what is wrong with it.
  configure: func(config-json: string) -> result<setup, string>;
}

// Keeps or drops each record: one verdict per row, in order.
world filter {
  use types.{row, verdict};
  import logging;
  export lifecycle;
  export filter: func(batch: list<row>) -> result<list<verdict>, string>;
}

// Turns each record into any number of rows: one list per row, in order. The fields of a row are laid over its record.
world mapper {
  use types.{row};
  import logging;
  export lifecycle;
  export transform: func(batch: list<row>) -> result<list<list<row>>, string>;
}

// Scores each sample: one finite score per row, in order.
world reward {
  use types.{row, score};
  import logging;
  export lifecycle;
  export score: func(batch: list<row>) -> result<list<score>, string>;
}
"#
        });
    };
}
