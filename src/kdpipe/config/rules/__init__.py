"""The rules of a study: each file defines `RULE` (`kdpipe.config.rule.Rule`)."""
