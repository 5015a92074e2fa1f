;; A score that is not finite.
;; world: reward
;; dropped: plugin gave a wrong result: *finite*
;; part: call
(local.set $a (call $good (local.get $count)))
(f64.store (i32.load offset=4 (local.get $a)) (f64.const inf))
(return (local.get $a))
