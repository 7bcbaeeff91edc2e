"""What a study will take: how fast the machine is, what a job costs, how jobs fit together."""
