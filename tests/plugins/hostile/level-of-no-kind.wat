;; A log line of a level that is not there.
;; dropped: plugin gave a wrong result: *discriminant*
;; part: imports
(import "ruminate:plugin/logging@0.1.0" "log" (func $log (param i32 i32 i32)))
;; part: call
(call $log (i32.const 99) (i32.const 70000) (i32.const 12))
;; part: body
(data (i32.const 70000) "the sky fell")
