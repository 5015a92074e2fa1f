;; A verdict that is neither keep nor drop.
;; dropped: plugin gave a wrong result: *discriminant*
;; part: call
(local.set $a (call $good (local.get $count)))
(i32.store8 (i32.load offset=4 (local.get $a)) (i32.const 9))
(return (local.get $a))
