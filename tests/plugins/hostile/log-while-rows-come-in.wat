;; A log line while the host writes the rows.
;; all: yes
;; dropped: plugin trapped: *
;; part: imports
(import "ruminate:plugin/logging@0.1.0" "log" (func $log (param i32 i32 i32)))
;; part: realloc
(if (i32.eqz (global.get $quiet)) (then (call $log (i32.const 2) (i32.const 70000) (i32.const 12))))
;; part: configure
(global.set $quiet (i32.const 0))
;; part: body
(data (i32.const 70000) "the sky fell")
(global $quiet (mut i32) (i32.const 1))
