"""Files: written as a whole, verified before anything is made of them."""
