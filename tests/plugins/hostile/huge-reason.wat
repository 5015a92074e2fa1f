;; A reason of 100 MB.
;; memory-mb: 256
;; fuel: 1000000000000
;; rows: 4
;; dropped: aaaaaaaa*
;; part: call
(drop (memory.grow (i32.const 1600)))
(memory.fill (i32.const 262144) (i32.const 97) (i32.const 100000000))
(local.set $a (call $good (local.get $count)))
(local.set $b (i32.load offset=4 (local.get $a)))
(i32.store8 (local.get $b) (i32.const 1))
(i32.store offset=4 (local.get $b) (i32.const 262144))
(i32.store offset=8 (local.get $b) (i32.const 100000000))
(return (local.get $a))
