;; A log line of 100 MB.
;; memory-mb: 256
;; fuel: 1000000000000
;; rows: 4
;; passes: yes
;; note: plugin `guest`: aaaaaaaa*
;; part: imports
(import "ruminate:plugin/logging@0.1.0" "log" (func $log (param i32 i32 i32)))
;; part: call
(drop (memory.grow (i32.const 1600)))
(memory.fill (i32.const 262144) (i32.const 97) (i32.const 100000000))
(call $log (i32.const 2) (i32.const 262144) (i32.const 100000000))
