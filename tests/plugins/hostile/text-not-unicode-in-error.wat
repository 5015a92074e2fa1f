;; An error that is not Unicode.
;; dropped: plugin gave a wrong result: *utf-8*
;; part: call
(i32.store8 (i32.const 80000) (i32.const 1))
(i32.store (i32.const 80004) (i32.const 70000))
(i32.store (i32.const 80008) (i32.const 4))
(return (i32.const 80000))
;; part: body
(data (i32.const 70000) "caf\e9")
