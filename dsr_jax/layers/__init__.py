"""Parts shared by networks: parameters by layer, zero padding, pooling, batch normalisation."""
