"""The terms of the loss: each file defines `TERM` (`term.Term`)."""
