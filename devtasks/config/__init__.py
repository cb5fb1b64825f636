"""`[tool.devtasks]`: where it is (`loading`) and what it says (`parsing`, which listing tasks does without)."""
