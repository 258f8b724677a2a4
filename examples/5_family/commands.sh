# Exercise 5 as commands: about 85 minutes on two quiet cores. Needs cifar10.zip here.
# short: --epochs 1 --small-first 32
# short compare: --quiet

# What they are made of.
saccade models googlenet_cifar
saccade models resnet18_cifar

# The same pictures for all: mirrored, moved by up to four pixels. Two networks without BatchNorm, by AdamW.
saccade train cifar10.zip --model lenet5 --recipe scratch --epochs 30 \
  --flip 0.5 --shift 0.125 --whole-pixels --val-share 0.02 --label-smoothing 0.1 --batch-size 128 \
  --precision bfloat16 --layout channels_last --compile off --name lenet5
saccade train cifar10.zip --model alexnet_cifar --recipe scratch --epochs 30 \
  --flip 0.5 --shift 0.125 --whole-pixels --val-share 0.02 --label-smoothing 0.1 --batch-size 128 \
  --precision bfloat16 --layout channels_last --compile off --name alexnet_cifar

# Three with it, by SGD at a high rate; the first epochs see smaller pictures, so that there are more of them.
saccade train cifar10.zip --model googlenet_cifar --recipe scratch --epochs 3 --small-first 16,16 \
  --optimizer sgd --learning-rate 0.1 --weight-decay 5e-4 \
  --flip 0.5 --shift 0.125 --whole-pixels --val-share 0.02 --label-smoothing 0.1 --batch-size 128 \
  --precision bfloat16 --layout channels_last --compile off --name googlenet_cifar
saccade train cifar10.zip --model resnet18_cifar --recipe scratch --epochs 9 --small-first 16,16,20,20,24,24,28 \
  --optimizer sgd --learning-rate 0.1 --weight-decay 5e-4 \
  --flip 0.5 --shift 0.125 --whole-pixels --val-share 0.02 --label-smoothing 0.1 --batch-size 128 \
  --precision bfloat16 --layout channels_last --compile off --name resnet18_cifar
saccade train cifar10.zip --model densenet_cifar --recipe scratch --epochs 7 --small-first 16,16,16,20,24 \
  --optimizer sgd --learning-rate 0.1 --weight-decay 5e-4 \
  --flip 0.5 --shift 0.125 --whole-pixels --val-share 0.02 --label-smoothing 0.1 --batch-size 128 \
  --precision bfloat16 --layout channels_last --compile off --name densenet_cifar

# One table: which differences are more than chance, and at what price.
saccade compare runs/lenet5 runs/alexnet_cifar runs/googlenet_cifar runs/resnet18_cifar runs/densenet_cifar --name family
