# Exercise 5 as commands: none takes more than an hour of two quiet cores. Needs cifar10.zip here.
# short: --epochs 1
# short compare: --quiet

# What they are made of.
saccade models googlenet_cifar
saccade models resnet18_cifar
saccade models resnet32_cifar

# The same pictures for all: mirrored in turns, moved by up to two pixels. Two networks without BatchNorm, by AdamW.
saccade train cifar10.zip --model lenet5 --recipe scratch --epochs 30 \
  --flip 0.5 --flip-turns --shift 0.0625 --whole-pixels --val-share 0.02 --label-smoothing 0.1 --batch-size 128 \
  --name lenet5
saccade train cifar10.zip --model alexnet_cifar --recipe scratch --epochs 24 \
  --flip 0.5 --flip-turns --shift 0.0625 --whole-pixels --val-share 0.02 --label-smoothing 0.1 --batch-size 128 \
  --name alexnet_cifar

# Five with it, by Muon. GoogLeNet and DenseNet are dear: they see 16 pixels, and are judged by them. Inception v3 needs
# 75 pixels; it learns in float32, as the others did on a processor without bfloat16. Of the ResNets only the first
# epochs see smaller pictures, so that there are more of them. The paper's own for CIFAR-10 is narrow, its epochs cheap.
saccade train cifar10.zip --model googlenet_cifar --recipe scratch --epochs 3 --image-size 16 \
  --optimizer muon --learning-rate 0.13 --momentum 0.6 --head-rate 0.5 --schedule triangle --warmup 0.5 \
  --flip 0.5 --flip-turns --shift 0.0625 --whole-pixels --val-share 0.02 --label-smoothing 0.1 --batch-size 500 \
  --name googlenet_cifar
saccade train cifar10.zip --model inception_v3 --recipe scratch --epochs 5 --image-size 75 --head gap \
  --precision float32 --optimizer muon --learning-rate 0.13 --momentum 0.6 --head-rate 0.1 --schedule triangle \
  --warmup 0.5 --flip 0.5 --flip-turns --shift 0.0625 --whole-pixels --val-share 0.02 --label-smoothing 0.1 \
  --batch-size 500 --accumulate 4 --name inception_v3
saccade train cifar10.zip --model resnet18_cifar --recipe scratch --epochs 5 --small-first 16,16,20,24,28 \
  --optimizer muon --learning-rate 0.13 --momentum 0.6 --head-rate 0.5 --schedule triangle --warmup 0.5 \
  --flip 0.5 --flip-turns --shift 0.0625 --whole-pixels --val-share 0.02 --label-smoothing 0.1 --batch-size 500 \
  --name resnet18_cifar
saccade train cifar10.zip --model resnet32_cifar --recipe scratch --epochs 24 \
  --small-first 16,16,16,16,16,16,16,16,24,24,24,24 \
  --optimizer muon --learning-rate 0.13 --momentum 0.6 --head-rate 0.5 --schedule triangle --warmup 0.5 \
  --flip 0.5 --flip-turns --shift 0.0625 --whole-pixels --val-share 0.02 --label-smoothing 0.1 --batch-size 500 \
  --name resnet32_cifar
saccade train cifar10.zip --model densenet_cifar --recipe scratch --epochs 7 --image-size 16 \
  --optimizer muon --learning-rate 0.13 --momentum 0.6 --head-rate 0.5 --schedule triangle --warmup 0.5 \
  --flip 0.5 --flip-turns --shift 0.0625 --whole-pixels --val-share 0.02 --label-smoothing 0.1 --batch-size 500 \
  --accumulate 4 --name densenet_cifar

# One table: which differences are more than chance, and at what price.
saccade compare runs/lenet5 runs/alexnet_cifar runs/googlenet_cifar runs/inception_v3 runs/resnet18_cifar \
  runs/resnet32_cifar runs/densenet_cifar --name family
