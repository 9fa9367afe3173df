"""What was used, from gateways' reports into books that are kept."""
