"""Recurrent and attention layers made of linear layers: every space can train what is inside of them."""
