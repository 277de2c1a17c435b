"""World in: sources, fusion, storage. Imports nothing of ours."""
