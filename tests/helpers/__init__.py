"""What several test modules start from: small studies, sandboxes, oracles, pretended machines."""
