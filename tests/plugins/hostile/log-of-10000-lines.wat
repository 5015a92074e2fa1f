;; Ten thousand lines in the log.
;; rows: 1
;; passes: yes
;; note: plugin `guest`: 9990 more lines
;; part: imports
(import "ruminate:plugin/logging@0.1.0" "log" (func $log (param i32 i32 i32)))
;; part: call
(loop $again
  (call $log (i32.const 2) (i32.const 70000) (i32.const 12))
  (local.set $a (i32.add (local.get $a) (i32.const 1)))
  (br_if $again (i32.lt_u (local.get $a) (i32.const 10000))))
;; part: body
(data (i32.const 70000) "the sky fell")
