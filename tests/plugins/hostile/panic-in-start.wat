;; A start function that logs an error and gives up: it cannot log before it runs.
;; refused plugin: the plugin cannot be started: plugin *
;; part: imports
(import "ruminate:plugin/logging@0.1.0" "log" (func $log (param i32 i32 i32)))
;; part: body
(data (i32.const 70000) "the sky fell")
(func $start (call $log (i32.const 4) (i32.const 70000) (i32.const 12)) unreachable)
(start $start)
