"""What the commands of `reldn` do. `reldn_cli` parses their options."""
