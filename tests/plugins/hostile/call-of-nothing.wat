;; It calls a function that is not there.
;; dropped: plugin trapped: *
;; part: call
(call_indirect $nothing (i32.const 0))
;; part: body
(table $nothing 1 funcref)
