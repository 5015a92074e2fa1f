;; Room for the rows that lies beyond its memory.
;; all: yes
;; dropped: plugin gave a wrong result: *
;; part: realloc
(if (i32.eqz (global.get $quiet)) (then (return (i32.const -4096))))
;; part: configure
(global.set $quiet (i32.const 0))
;; part: body
(global $quiet (mut i32) (i32.const 1))
