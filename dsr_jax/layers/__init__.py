"""Parts shared by networks: parameters by layer, zero padding, batch normalisation."""
