"""A user's own text for language models: instructions, chats and plain text from files."""
