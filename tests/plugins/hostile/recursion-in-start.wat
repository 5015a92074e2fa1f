;; A start function that calls itself for ever.
;; refused plugin: the plugin cannot be started: plugin trapped: the call stack is exhausted, in deep
;; part: body
(func $deep (param i32) (result i32) (i32.add (i32.const 1) (call $deep (i32.add (local.get 0) (i32.const 1)))))
(func $start (drop (call $deep (i32.const 0))))
(start $start)
