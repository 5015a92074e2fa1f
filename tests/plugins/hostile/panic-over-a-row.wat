;; A mapper that gives up over one row.
;; world: mapper
;; dropped: plugin panicked: the sky fell
;; part: imports
(import "ruminate:plugin/logging@0.1.0" "log" (func $log (param i32 i32 i32)))
;; part: call
(call $log (i32.const 4) (i32.const 70000) (i32.const 12)) unreachable
;; part: body
(data (i32.const 70000) "the sky fell")
