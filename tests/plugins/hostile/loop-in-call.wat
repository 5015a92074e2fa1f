;; An endless loop over one record.
;; fuel: 200000
;; dropped: plugin ran out of fuel: one record needs more than 200000 (option `fuel`)
;; part: call
(loop $again (br $again))
