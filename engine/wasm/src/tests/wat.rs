//! Components made in the test from core modules in the text form: for what no committed guest does. Knows the layout
//! of the boundary (the canonical ABI of plugins/wit), so that a test writes only the instructions that matter to it.

use wit_component::{ComponentEncoder, StringEncoding, embed_component_metadata};
use wit_parser::Resolve;

/// The component of `world` whose core module is `wat`: the module's exports are named as a compiler would name them
/// (`score`, `ruminate:plugin/lifecycle@0.1.0#configure`, `memory`, `cabi_realloc`).
pub(crate) fn component(world: &str, wat: &str) -> Vec<u8> {
    component_of(&wit(), world, wat)
}

/// The text of plugins/wit.
pub(crate) fn wit() -> String {
    std::fs::read_to_string(super::file("plugins/wit/plugin.wit")).expect("the package can be read")
}

/// The same of a world in the package `wit`.
pub(crate) fn component_of(wit: &str, world: &str, wat: &str) -> Vec<u8> {
    let mut module = wat::parse_str(wat).unwrap_or_else(|error| panic!("{error}\n{wat}"));
    let mut resolve = Resolve::default();
    let package = resolve.push_str("plugin.wit", wit).expect("the package parses");
    let world = resolve.select_world(&[package], Some(world)).expect("the package has the world");
    embed_component_metadata(&mut module, &resolve, world, StringEncoding::UTF8).expect("the module takes a section");
    let mut encoder = ComponentEncoder::default();
    encoder.validate(true);
    encoder.module(&module).and_then(|encoder| encoder.encode()).expect("the module fits its world")
}

/// What `describe` and `configure` of a module say.
pub(crate) struct Guest<'a> {
    /// Its name.
    pub(crate) name: &'a str,
    /// Its JSON Schema.
    pub(crate) schema: Option<&'a str>,
    /// The columns that it reads: name and kind.
    pub(crate) reads: &'a [(&'a str, &'a str)],
    /// The columns that it writes.
    pub(crate) writes: &'a [(&'a str, &'a str)],
    /// Imports, in the text form.
    pub(crate) imports: &'a str,
    /// Instructions before `describe` answers; they leave nothing on the stack.
    pub(crate) describe: &'a str,
    /// The same of `configure`, which has the config at `$config` with `$length` bytes.
    pub(crate) configure: &'a str,
    /// The rest of the module: its function `score`, `filter` or `transform`, data from address 65536 on.
    pub(crate) body: &'a str,
}

impl Default for Guest<'_> {
    fn default() -> Self {
        Self {
            name: "guest",
            schema: None,
            reads: &[],
            writes: &[],
            imports: "",
            describe: "",
            configure: "",
            body: "",
        }
    }
}

impl Guest<'_> {
    /// The module in the text form. Memory `$memory` of 4 pages that grows as `cabi_realloc` (`$realloc`) hands out the
    /// bytes from `$heap` on; nothing is given back.
    pub(crate) fn module(&self) -> String {
        let mut data = Data { start: 1024, bytes: Vec::new() };
        let info = self.info(&mut data);
        let setup = self.setup(&mut data);
        let Guest { imports, describe, configure, body, .. } = self;
        let text: String = data.bytes.iter().map(|byte| format!("\\{byte:02x}")).collect();
        format!(
            r#"(module
  {imports}
  (memory $memory (export "memory") 4)
  (global $heap (mut i32) (i32.const 131072))
  (data (i32.const 1024) "{text}")
  (func $realloc (export "cabi_realloc") (param $old i32) (param $had i32) (param $align i32) (param $size i32) (result i32)
    (local $at i32)
    (local.set $at (i32.and (i32.add (global.get $heap) (i32.const 15)) (i32.const -16)))
    (global.set $heap (i32.add (local.get $at) (local.get $size)))
    (block $fits
      (br_if $fits (i32.le_u (global.get $heap) (i32.mul (memory.size) (i32.const 65536))))
      (br_if $fits (i32.ge_s (memory.grow (i32.add (i32.shr_u (local.get $size) (i32.const 16)) (i32.const 1))) (i32.const 0)))
      unreachable)
    (local.get $at))
  (func $describe (export "ruminate:plugin/lifecycle@0.1.0#describe") (result i32)
    {describe}
    (i32.const {info}))
  (func $configure (export "ruminate:plugin/lifecycle@0.1.0#configure") (param $config i32) (param $length i32) (result i32)
    {configure}
    (i32.const {setup}))
  {body}
)"#
        )
    }

    /// The component of `world`.
    pub(crate) fn component(&self, world: &str) -> Vec<u8> {
        component(world, &self.module())
    }

    /// The address of the record `info`.
    fn info(&self, data: &mut Data) -> u32 {
        let mut words: Vec<u32> = Vec::new();
        for text in [self.name, "0.1.0", "a guest in text form"] {
            words.extend(data.text(text));
        }
        words.push(u32::from(self.schema.is_some()));
        words.extend(data.text(self.schema.unwrap_or_default()));
        data.words(&words)
    }

    /// The address of `result<setup, string>`.
    fn setup(&self, data: &mut Data) -> u32 {
        let mut words = vec![0];
        for columns in [self.reads, self.writes] {
            let entries: Vec<u32> = columns
                .iter()
                .flat_map(|(name, kind)| {
                    let name = data.text(name);
                    let kind = data.text(kind);
                    name.into_iter().chain(kind)
                })
                .collect();
            words.extend([data.words(&entries), columns.len() as u32]);
        }
        data.words(&words)
    }
}

/// Bytes laid out from `start` on.
struct Data {
    start: u32,
    bytes: Vec<u8>,
}

impl Data {
    /// The address and the length of a text.
    fn text(&mut self, text: &str) -> [u32; 2] {
        let at = self.start + self.bytes.len() as u32;
        self.bytes.extend(text.bytes());
        [at, text.len() as u32]
    }

    /// The address of these words, aligned.
    fn words(&mut self, words: &[u32]) -> u32 {
        self.bytes.resize(self.bytes.len().next_multiple_of(8), 0);
        let at = self.start + self.bytes.len() as u32;
        self.bytes.extend(words.iter().flat_map(|word| word.to_le_bytes()));
        at
    }
}

#[test]
fn a_module_in_text_becomes_a_plugin() {
    let keep = r#"(func (export "filter") (param $rows i32) (param $count i32) (result i32) (i32.const 65536))
  (data (i32.const 65536) "\01")"#;
    let bytes =
        Guest { reads: &[("text", "text")], schema: Some("{}"), body: keep, ..Guest::default() }.component("filter");
    let digest = ruminate_flow::digest::Digest::of(&bytes);
    let plugin = crate::host::Plugin::load(digest, &|| Ok(bytes.clone())).expect("a plugin");
    assert_eq!((plugin.description.name.as_str(), plugin.description.world), ("guest", crate::World::Filter));
    assert_eq!(plugin.description.config_schema.as_deref(), Some("{}"));
    let setup = plugin.configure("{}", &crate::limits::Limits::for_check()).expect("a setup");
    assert_eq!((setup.reads.len(), setup.reads[0].name.as_str(), setup.writes.len()), (1, "text", 0));
}
