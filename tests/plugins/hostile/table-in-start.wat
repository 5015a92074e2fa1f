;; A table that is too large from the start.
;; refused plugin: the plugin cannot be started: plugin trapped: it asked for more than*
;; part: body
(table 1000000000 funcref)
