"""Where runs are computed: on the CPU, or each on a GPU that it leases."""
