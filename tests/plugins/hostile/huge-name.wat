;; `describe` gives a name of 100 MB.
;; refused plugin: the plugin cannot be started: plugin handed over more than 4 MB
;; part: describe
(drop (memory.grow (i32.const 1600)))
(memory.fill (i32.const 262144) (i32.const 97) (i32.const 100000000))
(i32.store (i32.const 80000) (i32.const 262144)) (i32.store (i32.const 80004) (i32.const 100000000)) (return (i32.const 80000))
