;; A table that may not grow and is made to, without end: each time is dear, and fuel counts it as one.
;; rows: 4
;; dropped: plugin trapped: it made its memory or its tables grow too often
;; part: call
(loop $again (drop (table.grow $table (ref.null func) (i32.const 1))) (br $again))
;; part: body
(table $table 1 1 funcref)
