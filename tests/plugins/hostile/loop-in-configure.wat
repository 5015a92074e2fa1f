;; An endless loop in `configure`.
;; refused config: plugin `guest` refuses its config: `configure` failed: plugin ran out of fuel*
;; part: configure
(loop $again (br $again))
