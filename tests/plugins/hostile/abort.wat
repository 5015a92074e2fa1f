;; It gives up without a word.
;; dropped: plugin trapped: it aborted without a message
;; part: call
unreachable
