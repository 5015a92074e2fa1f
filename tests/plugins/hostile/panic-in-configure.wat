;; `configure` logs an error and gives up.
;; refused config: plugin `guest` refuses its config: `configure` failed: plugin panicked: the sky fell, in configure
;; part: imports
(import "ruminate:plugin/logging@0.1.0" "log" (func $log (param i32 i32 i32)))
;; part: configure
(call $log (i32.const 4) (i32.const 70000) (i32.const 12)) unreachable
;; part: body
(data (i32.const 70000) "the sky fell")
