"""Pictures of prompts: fetched, checked, and given out to engines by their hash."""
