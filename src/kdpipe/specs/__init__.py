"""What passes from the plan to a job: what a spec contains, and which one a job takes."""
