"""A first study for one's images: its sizes from the data and from the speed of this machine."""
