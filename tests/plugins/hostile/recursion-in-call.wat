;; A record over which it calls itself for ever.
;; dropped: plugin trapped: the call stack is exhausted
;; note: plugin `guest` on record `r0`: trapped: the call stack is exhausted, in deep; raise `stack-kb` if such records are worth it
;; part: call
(drop (call $deep (i32.const 0)))
;; part: body
(func $deep (param i32) (result i32) (i32.add (i32.const 1) (call $deep (i32.add (local.get 0) (i32.const 1)))))
