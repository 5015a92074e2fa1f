;; A million verdicts whose reasons all lie at the same megabyte: a terabyte for the host.
;; rows: 2
;; dropped: plugin handed over more data at once than it may (option `memory-mb`)
;; part: call
(local.set $a (call $good (i32.const 1000000)))
(local.set $b (i32.load offset=4 (local.get $a)))
(loop $again
  (i32.store8 (local.get $b) (i32.const 1))
  (i32.store offset=4 (local.get $b) (i32.const 262144))
  (i32.store offset=8 (local.get $b) (i32.const 1000000))
  (local.set $b (i32.add (local.get $b) (i32.const 12)))
  (br_if $again (i32.lt_u (local.get $b) (i32.add (i32.load offset=4 (local.get $a)) (i32.const 12000000)))))
(return (local.get $a))
