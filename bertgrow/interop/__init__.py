"""Import and export of models: Hugging Face folders, TF1 checkpoints and safetensors."""
