;; `configure` wants all memory.
;; memory-mb: 2
;; refused config: plugin `guest` refuses its config: `configure` failed: plugin asked for more than 2 MB of memory*
;; part: configure
(loop $again (drop (memory.grow (i32.const 16))) (br $again))
