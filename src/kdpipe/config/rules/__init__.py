"""The rules for study files: each file defines `RULE` (`kdpipe.config.rule.Rule`)."""
