"""Drawing of people who do not exist: body, clothes, pose, and the cameras that see them."""
