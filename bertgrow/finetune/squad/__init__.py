"""SQuAD: data, features, answers and the official scores."""
