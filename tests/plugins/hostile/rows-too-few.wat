;; A mapper that gives a list too few.
;; world: mapper
;; dropped: plugin gave a wrong result: 0 lists of rows for a batch of 1
;; part: call
(return (call $good (i32.sub (local.get $count) (i32.const 1))))
