;; One record among 256 breaks it.
;; rows: 256
;; bad: 100
;; dropped: plugin panicked: the sky fell
;; note: plugin `guest` on record `r100`: panicked: the sky fell, in call; *
;; part: imports
(import "ruminate:plugin/logging@0.1.0" "log" (func $log (param i32 i32 i32)))
;; part: call
(call $log (i32.const 4) (i32.const 70000) (i32.const 12)) unreachable
;; part: body
(data (i32.const 70000) "the sky fell")
