"""The device mesh, and several processes that run one program."""
