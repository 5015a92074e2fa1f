;; A record for which it wants all memory.
;; memory-mb: 2
;; dropped: plugin asked for more than 2 MB of memory (option `memory-mb`)
;; part: call
(loop $again (drop (memory.grow (i32.const 16))) (br $again))
