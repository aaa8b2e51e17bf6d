"""From any picture to tensors and back. Knows no Lightning."""
