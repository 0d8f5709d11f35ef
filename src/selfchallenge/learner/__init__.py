"""Learns from verified outcomes; the only room that may import torch at the top (section 3.3)."""
