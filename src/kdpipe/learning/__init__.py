"""What a network learns from: the recipe, and the terms of the loss."""
