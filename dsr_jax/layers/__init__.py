"""What networks share: parameters by layer, zero padding, batch normalisation."""
