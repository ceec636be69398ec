"""SQuAD 1.1 and 2.0: their files, the rules of scoring, the task in text and that of spans."""
