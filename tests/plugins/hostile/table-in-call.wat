;; A table that grows without end.
;; dropped: plugin trapped: it asked for more than 200000 table elements (option `table-elements`)
;; part: call
(loop $again (br_if $again (i32.ne (i32.const -1) (table.grow $table (ref.null func) (i32.const 1000)))))
unreachable
;; part: body
(table $table 1 funcref)
