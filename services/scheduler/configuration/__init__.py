"""The operator's configuration as YAML: checked, and laid down in the mesh."""
