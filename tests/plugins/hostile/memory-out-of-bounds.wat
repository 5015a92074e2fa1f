;; It reads beyond its memory.
;; dropped: plugin trapped: out of bounds memory access
;; part: call
(drop (i32.load (i32.const -8)))
