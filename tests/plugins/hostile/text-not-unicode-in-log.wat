;; A log line that is not Unicode.
;; dropped: plugin gave a wrong result: *utf-8*
;; part: imports
(import "ruminate:plugin/logging@0.1.0" "log" (func $log (param i32 i32 i32)))
;; part: call
(call $log (i32.const 2) (i32.const 70000) (i32.const 4))
;; part: body
(data (i32.const 70000) "caf\e9")
