;; An endless loop with more fuel than time.
;; fuel: 1000000000000000
;; timeout-ms: 60
;; rows: 2
;; failed: plugin ran longer than 60 ms (option `timeout-ms`)
;; part: call
(loop $again (br $again))
