# Exercise 4, cats and dogs, as commands; resnet18_tiny64.safetensors is any backbone that has seen other pictures.
# short: --epochs 1 --fraction 0.1
# short compare: --epochs 1 --seeds 1 --fractions 0.1 --recipe features,finetune

# The layers with the head alone learning, and with the last stage too: 513 and 8,394,241 of 11,177,025 parameters.
saccade models resnet18 --head gap:sigmoid --classes 2 --image-size 96 --train head
saccade models resnet18 --head gap:sigmoid --classes 2 --image-size 96 --train layer4

# What global average pooling saves: 262,656 weights and biases into 512 units, and 4,194,816 without it.
saccade models vgg16 --head gap:512:sigmoid --classes 2 --image-size 128 --train head
saccade models vgg16 --head 512:sigmoid --classes 2 --image-size 128 --train head

# The backbone frozen; then its last stage too, best weights kept, stopped ten epochs after the last better one.
saccade train cats_and_dogs_small.zip --model resnet18 --weights resnet18_tiny64.safetensors --image-size 96 \
  --head gap:sigmoid --recipe features --name frozen
saccade train cats_and_dogs_small.zip --model resnet18 --weights resnet18_tiny64.safetensors --image-size 96 \
  --head gap:sigmoid --recipe finetune --train layer4 \
  --schedule plateau --patience 10 --best-by val_loss --epochs 40 --name tuned
saccade evaluate runs/tuned --figures figures

# Two pictures of dogs as any others: names, how likely, the places that speak for them. Is the second run better?
python -c "
from zipfile import ZipFile
names = [f'cats_and_dogs_small/test/dogs/dog.{number}.jpg' for number in (4102, 4103)]
ZipFile('cats_and_dogs_small.zip').extractall('photographs', names)
"
saccade predict runs/tuned photographs
saccade explain runs/tuned photographs --output figures
saccade compare runs/frozen runs/tuned
saccade explain runs/tuned --sheet

# Much and little data, like and unlike what the backbone has seen: four ways of each, three seeds.
saccade compare cats_and_dogs_small.zip --model resnet18 --weights resnet18_tiny64.safetensors --image-size 64 \
  --head gap:sigmoid --recipe features,finetune,finetune+augment,full --seeds 3 --epochs 5 --fractions 0.1,1 \
  --name photographs

# The same with the cats and dogs of CIFAR-10, which are 32 pixels wide: a table that names members of the zip.
python -c "
import csv
from zipfile import ZipFile
names = ZipFile('cifar10.zip').namelist()
with open('small_cats_and_dogs.csv', 'w', newline='') as file:
    rows = csv.writer(file)
    rows.writerow(('path', 'label', 'split'))
    for part, step in (('train', 7), ('test', 2)):
        for kind in ('cat', 'dog'):
            chosen = [name for name in names if name.startswith(f'cifar10/{part}/{kind}/')][::step]
            rows.writerows((f'cifar10.zip/{name}', kind, part) for name in chosen)
"
saccade compare small_cats_and_dogs.csv --model resnet18 --weights resnet18_tiny64.safetensors --image-size 64 \
  --head gap:sigmoid --recipe features,finetune,finetune+augment,full --seeds 3 --epochs 5 --fractions 0.06,1 \
  --name small

# And with MNIST's fours and nines, in one .npz.
python -c "
import gzip
import numpy as np
def fours_and_nines(part, num):
    images, labels = (gzip.open(f'mnist/{part}-{kind}-ubyte.gz').read() for kind in ('images-idx3', 'labels-idx1'))
    labels = np.frombuffer(labels, np.uint8, offset=8)
    rows = np.flatnonzero(np.isin(labels, (4, 9)))[:num]
    return np.frombuffer(images, np.uint8, offset=16).reshape(-1, 28, 28)[rows], np.where(labels == 4, 'four', 'nine')[rows]
train, test = fours_and_nines('train', 1300), fours_and_nines('t10k', 1000)
np.savez('fours_and_nines.npz', X_train=train[0], y_train=train[1], X_test=test[0], y_test=test[1])
"
saccade compare fours_and_nines.npz --model resnet18 --weights resnet18_tiny64.safetensors --image-size 64 \
  --head gap:sigmoid --recipe features,finetune,finetune+augment,full --seeds 3 --epochs 5 --fractions 0.06,1 \
  --name digits

# What is advised: leave --recipe out, and read the line that begins with "advice"; with --fraction 0.1 for less.
saccade train cats_and_dogs_small.zip --model resnet18 --weights resnet18_tiny64.safetensors --image-size 64 \
  --head gap:sigmoid --epochs 1 --name advised
