;; `configure` calls itself for ever.
;; refused config: plugin `guest` refuses its config: `configure` failed: plugin trapped: the call stack is exhausted, in deep
;; part: configure
(drop (call $deep (i32.const 0)))
;; part: body
(func $deep (param i32) (result i32) (i32.add (i32.const 1) (call $deep (i32.add (local.get 0) (i32.const 1)))))
