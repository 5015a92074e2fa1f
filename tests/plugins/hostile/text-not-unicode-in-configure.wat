;; `configure` names a column that is not Unicode.
;; refused config: plugin `guest` refuses its config: `configure` failed: plugin *utf-8*
;; part: configure
(i32.store (i32.const 80004) (i32.const 70000)) (i32.store (i32.const 80008) (i32.const 4)) (i32.store8 (i32.const 80000) (i32.const 1)) (return (i32.const 80000))
;; part: body
(data (i32.const 70000) "caf\e9")
