;; A reason that claims four gigabytes.
;; dropped: plugin gave a wrong result: string pointer/length out of bounds of memory
;; part: call
(local.set $a (call $good (local.get $count)))
(local.set $b (i32.load offset=4 (local.get $a)))
(i32.store8 (local.get $b) (i32.const 1))
(i32.store offset=4 (local.get $b) (i32.const 0))
(i32.store offset=8 (local.get $b) (i32.const -1))
(return (local.get $a))
