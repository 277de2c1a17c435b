"""Questions about the world, the facts that answer them, the evidence behind each, and where a question stands."""
