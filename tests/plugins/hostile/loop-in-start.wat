;; An endless loop in the start function.
;; refused plugin: the plugin cannot be started: plugin ran out of fuel*
;; part: body
(func $spin (loop $again (br $again)))
(start $spin)
