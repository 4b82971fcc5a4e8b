"""Deep Spatial Feature Reconstruction in JAX: match a part of a person to a whole one.

The distance of a probe map to a gallery map is the mean squared error with which the blocks of the first are sparsely
rebuilt from the blocks of the second (He, Liang, Li, Sun: Deep Spatial Feature Reconstruction for Partial Person
Re-identification, CVPR 2018). No alignment, no resizing, any size; every distance comes with a certified interval.

Symbols used in every docstring (the paper's letter, the word in code, the shape):

    x, y    probe_maps, gallery_maps      (h, w, d)   spatial feature map of one image
    X       probe_blocks                  (N, d)      unit-length blocks of the probe, one per row
    Y       gallery_blocks                (M, d)      unit-length blocks of the gallery image: the dictionary's atoms
    W       codes                         (M, N)      sparse reconstruction coefficients
    beta    l1                            scalar      weight of the L1 penalty, 0.4
    d       distance                      scalar      mean squared reconstruction error of a probe block, in [0, 1]
    alpha   sign                          +1 / -1     same person / different persons
    theta   params                        pytree      parameters of the network

Because blocks are rows, "Y'X" of the paper (atoms as columns) is ``gallery_blocks @ probe_blocks.T`` here.
"""
