;; `describe` logs an error and gives up.
;; refused plugin: the plugin cannot be started: plugin panicked: the sky fell, in describe
;; part: imports
(import "ruminate:plugin/logging@0.1.0" "log" (func $log (param i32 i32 i32)))
;; part: describe
(call $log (i32.const 4) (i32.const 70000) (i32.const 12)) unreachable
;; part: body
(data (i32.const 70000) "the sky fell")
