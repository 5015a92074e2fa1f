;; Megabytes in every line of a log without end.
;; rows: 1
;; fuel: 1000000000000
;; dropped: plugin trapped: it logged too much in one call
;; part: imports
(import "ruminate:plugin/logging@0.1.0" "log" (func $log (param i32 i32 i32)))
;; part: call
(drop (memory.grow (i32.const 16)))
(loop $again (call $log (i32.const 2) (i32.const 262144) (i32.const 1000000)) (br $again))
