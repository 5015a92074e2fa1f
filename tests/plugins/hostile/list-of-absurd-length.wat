;; A result that claims more verdicts than memory holds.
;; dropped: plugin gave a wrong result: list pointer/length out of bounds of memory
;; part: call
(local.set $a (call $good (local.get $count)))
(i32.store offset=8 (local.get $a) (i32.const -1))
(return (local.get $a))
