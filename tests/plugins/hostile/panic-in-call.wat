;; A record over which it logs an error and gives up.
;; dropped: plugin panicked: the sky fell
;; note: plugin `guest` on record `r0`: panicked: the sky fell, in call; try the plugin on this record alone with `ruminate plugin run`
;; part: imports
(import "ruminate:plugin/logging@0.1.0" "log" (func $log (param i32 i32 i32)))
;; part: call
(call $log (i32.const 4) (i32.const 70000) (i32.const 12)) unreachable
;; part: body
(data (i32.const 70000) "the sky fell")
