;; `describe` gives a name that is not Unicode.
;; refused plugin: the plugin cannot be started: plugin *utf-8*
;; part: describe
(i32.store8 (i32.const 1024) (i32.const 0xe9))
