;; A list at an odd address.
;; dropped: plugin gave a wrong result: list pointer is not aligned
;; part: call
(local.set $a (call $good (local.get $count)))
(i32.store offset=4 (local.get $a) (i32.const 65537))
(return (local.get $a))
