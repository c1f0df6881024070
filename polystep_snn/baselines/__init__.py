"""What forward-only training is compared with, on the same networks, data and optimizers."""
