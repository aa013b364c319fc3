"""Use of a trained model: fill masks, embed and score texts."""
