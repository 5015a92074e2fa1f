;; A result beyond the end of memory.
;; dropped: plugin gave a wrong result: pointer out of bounds of memory
;; part: call
(return (i32.const -16))
