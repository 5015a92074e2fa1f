;; A table that is too large from the start.
;; refused plugin: the plugin cannot be started: *
;; part: body
(table 1000000000 funcref)
