;; A column of lists of lists, a hundred thousand deep.
;; refused plugin: the plugin's setup is wrong: *
;; part: configure
(local $at i32)
(drop (memory.grow (i32.const 16)))
(local.set $at (i32.const 262144))
(loop $again
  (i64.store (local.get $at) (i64.const 0x3c7473696c)) ;; list<
  (local.set $at (i32.add (local.get $at) (i32.const 5)))
  (br_if $again (i32.lt_u (local.get $at) (i32.const 762144))))
(i32.store (local.get $at) (i32.const 0x746e69)) ;; int
(memory.fill (i32.const 762147) (i32.const 62) (i32.const 100000))
(i32.store (i32.const 69000) (i32.const 762144)) (i32.store (i32.const 69004) (i32.const 3))
(i32.store (i32.const 69008) (i32.const 262144)) (i32.store (i32.const 69012) (i32.const 600003))
(i32.store8 (i32.const 68000) (i32.const 0))
(i32.store (i32.const 68004) (i32.const 69000)) (i32.store (i32.const 68008) (i32.const 1))
(return (i32.const 68000))
