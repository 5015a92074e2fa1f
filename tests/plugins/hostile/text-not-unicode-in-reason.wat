;; A reason that is not Unicode.
;; dropped: plugin gave a wrong result: *utf-8*
;; part: call
(local.set $a (call $good (local.get $count)))
(local.set $b (i32.load offset=4 (local.get $a)))
(i32.store8 (local.get $b) (i32.const 1))
(i32.store offset=4 (local.get $b) (i32.const 70000))
(i32.store offset=8 (local.get $b) (i32.const 4))
(return (local.get $a))
;; part: body
(data (i32.const 70000) "caf\e9")
