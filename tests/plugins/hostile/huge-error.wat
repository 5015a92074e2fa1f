;; An error of 100 MB.
;; memory-mb: 256
;; fuel: 1000000000000
;; rows: 4
;; dropped: plugin error: aaaaaaaa*
;; part: call
(drop (memory.grow (i32.const 1600)))
(memory.fill (i32.const 262144) (i32.const 97) (i32.const 100000000))
(i32.store8 (i32.const 80000) (i32.const 1))
(i32.store (i32.const 80004) (i32.const 262144))
(i32.store (i32.const 80008) (i32.const 100000000))
(return (i32.const 80000))
