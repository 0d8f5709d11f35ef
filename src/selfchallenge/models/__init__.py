"""Who thinks: scripted, local and served language models behind one protocol."""
