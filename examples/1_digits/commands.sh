# Exercise 1, digits, as commands; mnist/ holds the four files of MNIST.
# short: --epochs 1 --fraction 0.02

# The layers, their shapes and their parameters: 320 and 54,090.
saccade models cnn1

# The published run: three epochs, batches of ten.
saccade train mnist --model cnn1 --recipe scratch --epochs 3 --batch-size 10 --name digits

# What it is worth, and the figures: loss, accuracy, confusion matrix and four more.
saccade evaluate runs/digits --figures figures --output judged.csv

# Its 32 filters, test pictures with the places that speak for their class, and the worst mistakes.
saccade explain runs/digits --method filters --output figures
saccade explain runs/digits --sheet
saccade explain runs/digits --mistakes 12

# One test picture out of MNIST's own file, and the ten probabilities.
python -c "
import gzip, random
from PIL import Image
pixels = gzip.open('mnist/t10k-images-idx3-ubyte.gz').read()[16:]
start = 784 * random.randrange(10_000)
Image.frombytes('L', (28, 28), pixels[start : start + 784]).save('digit.png')
"
saccade predict runs/digits digit.png --top 10
saccade explain runs/digits digit.png --method features --stage block1_conv1 --output figures
