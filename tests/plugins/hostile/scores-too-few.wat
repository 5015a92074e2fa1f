;; A score too few.
;; world: reward
;; dropped: plugin gave a wrong result: 0 scores for a batch of 1
;; part: call
(return (call $good (i32.sub (local.get $count) (i32.const 1))))
