"""The jitted step, the loop around it, and what keeps its work safe."""
