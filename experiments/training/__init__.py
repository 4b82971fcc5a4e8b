"""Parts of `experiments.pretrain` and `experiments.finetune`: batches, steps, loop, checkpoints."""
