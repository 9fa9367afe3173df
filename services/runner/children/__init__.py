"""Long work in processes of their own: what they are told, and what they tell."""
