"""Tables that a report has without the study listing them."""
