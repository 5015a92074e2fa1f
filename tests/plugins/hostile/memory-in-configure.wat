;; `configure` wants all memory.
;; memory-mb: 2
;; refused memory-mb: plugin `guest` does not start within 2 MB of memory
;; part: configure
(loop $again (drop (memory.grow (i32.const 16))) (br $again))
