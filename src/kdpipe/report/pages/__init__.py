"""What a report says in sentences: the page, its Markdown, and the last words of a run."""
