;; One verdict too few.
;; dropped: plugin gave a wrong result: 0 verdicts for a batch of 1
;; part: call
(return (call $good (i32.sub (local.get $count) (i32.const 1))))
