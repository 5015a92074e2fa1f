;; `configure` refuses with 100 MB.
;; memory-mb: 256
;; refused config: plugin `guest` refuses its config: `configure` failed: plugin handed over more than 4 MB
;; part: configure
(drop (memory.grow (i32.const 1600)))
(memory.fill (i32.const 262144) (i32.const 97) (i32.const 100000000))
(i32.store (i32.const 80004) (i32.const 262144)) (i32.store (i32.const 80008) (i32.const 100000000)) (i32.store8 (i32.const 80000) (i32.const 1)) (return (i32.const 80000))
