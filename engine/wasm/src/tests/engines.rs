//! Where the memory of instances comes from: nobody can tell, and there is always enough.

use std::sync::atomic::{AtomicUsize, Ordering};

use ruminate_flow::digest::Digest;
use ruminate_flow::event::Cancel;

use super::wat::Guest;
use crate::call::CallError;
use crate::compiled::{Cache, Fault};
use crate::engines::{self, Storage};
use crate::host::{Answers, Plugin};
use crate::limits::{self, Limits};
use crate::wire;

const ALL: [Storage; 3] = [Storage::Scanned, Storage::Copied, Storage::System];

fn plugin(storage: Storage, bytes: &[u8]) -> Plugin {
    let read = || Ok(bytes.to_vec());
    Plugin::load_with(&Limits::for_check(), storage, Digest::of(bytes), &read).expect("a plugin")
}

/// One call with `count` rows.
fn call(plugin: &Plugin, count: usize) -> Result<usize, CallError> {
    let rows: Vec<_> = (0..count).map(|i| wire::Row { id: i.to_string(), fields: Vec::new() }).collect();
    let limits = Limits { fuel: 10_000_000_000, ..Limits::for_check() };
    plugin.call("{}", &rows, &limits, &Cancel::default()).0.map(|answers| match answers {
        Answers::Verdicts(verdicts) => verdicts.len(),
        _ => 0,
    })
}

/// A filter that traps if it can find anything of an instance before it, and then writes wherever it can: in its data, in every
/// other page of a memory that it makes larger than a pool keeps, in its globals and tables.
fn nosy() -> Vec<u8> {
    let body = r#"
  (data (i32.const 65536) "original")
  (data (i32.const 65552) "\00\00\00\00\60\00\01\00\00\00\00\00")
  (table $t 3 100000 funcref)
  (elem (i32.const 1) $mark)
  (global $calls (mut i32) (i32.const 0))
  (func $mark)
  (func $check (param $right i32) (if (i32.eqz (local.get $right)) (then unreachable)))
  (func (export "filter") (param $rows i32) (param $count i32) (result i32)
    (local $at i32)
    (call $check (i64.eq (i64.load (i32.const 65536)) (i64.const 0x6c616e696769726f)))
    (call $check (i32.eqz (global.get $calls)))
    (call $check (i32.eq (table.size $t) (i32.const 3)))
    (call $check (ref.is_null (table.get $t (i32.const 0))))
    (call $check (i32.eqz (ref.is_null (table.get $t (i32.const 1)))))
    (call $check (i32.eq (memory.size) (i32.const 4)))
    (call $check (i32.eq (memory.grow (i32.const 640)) (i32.const 4)))
    (local.set $at (i32.const 135168))
    (loop $next
      (call $check (i64.eqz (i64.load (local.get $at))))
      (i64.store (local.get $at) (i64.const -1))
      (local.set $at (i32.add (local.get $at) (i32.const 8192)))
      (br_if $next (i32.lt_u (local.get $at) (i32.mul (memory.size) (i32.const 65536)))))
    (i64.store (i32.const 65536) (i64.const 7))
    (global.set $calls (i32.const 1))
    (table.set $t (i32.const 1) (ref.null func))
    (drop (table.grow $t (ref.func $mark) (i32.const 90000)))
    (i32.store (i32.const 65560) (local.get $count))
    (i32.store (i32.const 65556) (call $realloc (i32.const 0) (i32.const 0) (i32.const 8) (i32.mul (local.get $count) (i32.const 12))))
    (i32.const 65552))"#;
    Guest { body, ..Guest::default() }.component("filter")
}

#[test]
fn no_instance_finds_anything_of_another() {
    let bytes = nosy();
    for storage in ALL {
        let plugin = plugin(storage, &bytes);
        for turn in 0..4 {
            assert_eq!(call(&plugin, 3), Ok(3), "{storage:?}, turn {turn}");
        }
    }
}

#[test]
fn calls_wait_for_a_place() {
    let bytes = nosy();
    let plugin = plugin(Storage::Scanned, &bytes);
    // More than a pool holds at once.
    let done = AtomicUsize::new(0);
    let pool = limits::pool(&Limits::for_check(), 256).expect("threads");
    pool.broadcast(|_| done.fetch_add(usize::from(call(&plugin, 1) == Ok(1)), Ordering::Relaxed));
    assert_eq!(done.into_inner(), 256);
}

#[test]
fn an_engine_goes_without_a_pool_that_cannot_be_made() {
    let limits = Limits::for_check();
    let has_pool = |places| {
        let home = engines::build(&limits, Storage::Scanned, places).expect("an engine");
        home.place().is_some()
    };
    assert!(has_pool(1));
    // More addresses than there are.
    assert!(!has_pool(1 << 20));
}

#[test]
fn a_plugin_too_large_for_a_pool_goes_without() {
    let memories = "(memory 1) (memory 1) (memory 1)";
    let tables = "(table 1 funcref)".repeat(9);
    let large = "(table 300000 funcref)";
    let keep =
        r#"(func (export "filter") (param i32 i32) (result i32) (i32.const 65536)) (data (i32.const 65536) "\01")"#;
    for what in [memories, tables.as_str(), large] {
        let bytes = Guest { body: &format!("{what} {keep}"), ..Guest::default() }.component("filter");
        let folder = tempfile::tempdir().expect("a folder");
        let cache = Cache::open(folder.path().join("plugins")).expect("a cache");
        let load = |storage, read: &dyn Fn() -> Vec<u8>| {
            let home = engines::engine(&Limits::for_check(), storage).expect("an engine");
            cache.component(&home.engine, Digest::of(&bytes), &|| Ok(read()))
        };
        let gone = || panic!("the code is kept");
        for storage in [Storage::Scanned, Storage::Copied] {
            assert!(matches!(load(storage, &|| bytes.clone()), Err(Fault::NoRoom)), "{what}");
        }
        assert!(load(Storage::System, &|| bytes.clone()).is_ok());
        // That a pool is too small for it does not harm what is kept.
        assert!(matches!(load(Storage::Scanned, &gone), Err(Fault::NoRoom)), "{what}");
        assert!(load(Storage::System, &gone).is_ok());
        if what != large {
            assert_eq!(call(&plugin(Storage::Scanned, &bytes), 1), Err(CallError::Refused(String::new())), "{what}");
        }
    }
}

#[test]
fn code_is_kept_for_all_engines_with_the_same_settings() {
    let bytes = nosy();
    let folder = tempfile::tempdir().expect("a folder");
    let cache = Cache::open(folder.path().join("plugins")).expect("a cache");
    let compiled = AtomicUsize::new(0);
    for storage in ALL {
        let home = engines::engine(&Limits::for_check(), storage).expect("an engine");
        let read = || {
            compiled.fetch_add(1, Ordering::Relaxed);
            Ok(bytes.clone())
        };
        assert!(cache.component(&home.engine, Digest::of(&bytes), &read).is_ok());
    }
    assert_eq!(compiled.into_inner(), 1);
}
