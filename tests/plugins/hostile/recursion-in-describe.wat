;; `describe` calls itself for ever.
;; refused plugin: the plugin cannot be started: plugin trapped: the call stack is exhausted, in deep
;; part: describe
(drop (call $deep (i32.const 0)))
;; part: body
(func $deep (param i32) (result i32) (i32.add (i32.const 1) (call $deep (i32.add (local.get 0) (i32.const 1)))))
