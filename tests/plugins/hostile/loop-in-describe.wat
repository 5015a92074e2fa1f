;; An endless loop in `describe`.
;; refused plugin: the plugin cannot be started: plugin ran out of fuel*
;; part: describe
(loop $again (br $again))
