;; A division by zero, after an error that it logged about something else.
;; dropped: plugin trapped: integer divide by zero
;; part: imports
(import "ruminate:plugin/logging@0.1.0" "log" (func $log (param i32 i32 i32)))
;; part: call
(call $log (i32.const 4) (i32.const 70000) (i32.const 12))
(drop (i32.div_s (i32.const 1) (i32.const 0)))
;; part: body
(data (i32.const 70000) "the sky fell")
