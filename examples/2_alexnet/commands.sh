# Exercise 2 as commands: hours on two cores, fewer where they compute in bfloat16.
# Needs cifar10.zip here.
# short: --epochs 1 --small-first 99
# short compare: --epochs 1

# Three variants at two rates, on a tenth of the pictures.
saccade compare cifar10.zip --model alexnet_lrn,alexnet,alexnet_bn --recipe scratch --image-size 128 --epochs 4 \
  --batch-size 64 --flip 0.5 --shift 0.1 --fractions 0.1 --val-share 0.05 --learning-rate 1e-3 \
  --name rate-0.001
saccade compare cifar10.zip --model alexnet_lrn,alexnet,alexnet_bn --recipe scratch --image-size 128 --epochs 4 \
  --batch-size 64 --flip 0.5 --shift 0.1 --fractions 0.1 --val-share 0.05 --learning-rate 1e-4 \
  --name rate-0.0001

# The rate falls when the validation loss does not any more; then the training stops by itself.
saccade train cifar10.zip --model alexnet_bn --recipe scratch --image-size 128 --epochs 40 --batch-size 64 \
  --augment none --fraction 0.05 --val-share 0.05 --optimizer adam --schedule plateau --patience 10 \
  --name plateau

# The best variant on all pictures; the first epochs see smaller ones.
saccade train cifar10.zip --model alexnet_bn --recipe scratch --image-size 128 --epochs 8 --small-first 99,99,99,99,99 \
  --optimizer muon --learning-rate 0.13 --momentum 0.6 --head-rate 0.1 --schedule triangle --warmup 0.5 \
  --flip 0.5 --flip-turns --shift 0.0625 --whole-pixels --val-share 0.02 --label-smoothing 0.1 --batch-size 250 \
  --name alexnet
