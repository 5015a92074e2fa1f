;; A result that is neither good nor an error.
;; dropped: plugin gave a wrong result: invalid expected discriminant
;; part: call
(i32.store8 (i32.const 80000) (i32.const 7))
(return (i32.const 80000))
