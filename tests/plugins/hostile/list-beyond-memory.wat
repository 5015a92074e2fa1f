;; A list beyond the end of memory.
;; dropped: plugin gave a wrong result: list pointer/length out of bounds of memory
;; part: call
(local.set $a (call $good (local.get $count)))
(i32.store offset=4 (local.get $a) (i32.const -256))
(return (local.get $a))
