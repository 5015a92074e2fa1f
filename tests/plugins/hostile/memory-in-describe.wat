;; `describe` wants all memory.
;; refused plugin: the plugin cannot be started: plugin asked for more than*
;; part: describe
(loop $again (drop (memory.grow (i32.const 16))) (br $again))
