;; An endless loop in the function that takes the result back.
;; fuel: 200000
;; dropped: plugin ran out of fuel: one record needs more than 200000 (option `fuel`)
;; part: call
(global.set $evil (i32.const 1))
;; part: body
(global $evil (mut i32) (i32.const 0))
(func (export "cabi_post_filter") (param i32) (if (global.get $evil) (then (loop $again (br $again)))))
