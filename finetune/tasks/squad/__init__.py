"""SQuAD 1.1 and 2.0: their files, the rules that answers are scored by, and the task in text."""
