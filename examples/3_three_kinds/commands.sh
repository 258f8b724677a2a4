# Exercise 3 as commands: about half an hour on two quiet cores. Needs cifar10.zip and resnet18_tiny64.safetensors here.
# short: --epochs 1

# 960 + 240 pictures of three kinds, enlarged to 224 pixels; then look at them.
python examples/3_three_kinds/make_pictures.py
saccade check three_kinds.npz --show-batch batch.png --augment light

# Four recipes, two networks, three seeds; the same 240 pictures judge.
saccade compare three_kinds.npz --model cnn4,resnet18 --recipe scratch,features,finetune,finetune+augment \
  --weights resnet18_tiny64.safetensors --image-size 64 --seeds 3 --name three_kinds

# Precision, recall and F1 of the best one, class by class.
saccade evaluate runs/three_kinds/resnet18-finetune+augment-seed0 --figures figures/finetune+augment

# Over-fitting: thirty epochs over the same pictures, unchanged, and nobody stops it.
saccade train three_kinds.npz --model cnn4 --recipe scratch --image-size 64 --epochs 30 \
  --augment none --schedule constant --patience 0 --name overfit

# The mistake: everything learns at once, at a high rate, from pixels that the weights do not know.
python -c "
import numpy as np
from safetensors.numpy import load_file, save_file
pixels = {'normalise.mean': np.zeros((3, 1, 1), np.float32), 'normalise.std': np.ones((3, 1, 1), np.float32)}
save_file(load_file('resnet18_tiny64.safetensors') | pixels, 'raw_pixels.safetensors')
"
saccade train three_kinds.npz --model resnet18 --recipe full --no-solve-head --weights raw_pixels.safetensors \
  --learning-rate 1e-2 --image-size 64 --name mistake

# The same with care: pixels as the weights want them, the head first, a low rate that falls with depth.
saccade train three_kinds.npz --model resnet18 --recipe full --weights resnet18_tiny64.safetensors \
  --image-size 64 --name with_care
