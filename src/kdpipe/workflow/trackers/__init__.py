"""Programs that show curves: one file each, which mirrors a study into its own format."""
