"""Two classifiers, the baselines of the semi-supervised systems."""

from functools import partial
from typing import TYPE_CHECKING, Annotated

from pydantic import Field

from sparring.errors import require_size
from sparring.recipes.arguments import AffineStrength, Batch, EmaDecay, Labeled, Rate, Units, labeled_or_all
from sparring.recipes.recipe import Recipe, recipe, require_balanced, require_classes

if TYPE_CHECKING:
    from sparring.data.dataset import Spec


@recipe(paper="LeCun et al. 1998, Gradient-Based Learning; the network of the course's classifier", size=28, classes=10)
def mnist_net(
    data: "Spec",
    *,
    n_labeled: Labeled = 0,
    batch: Batch = 64,
    lr: Rate = 0.1,
    momentum: Annotated[float, Field(ge=0, lt=1, description="momentum of SGD")] = 0.0,
    normalize: Annotated[
        bool, Field(description="subtract MNIST's mean .1307 and divide by its std .3081; no: pixels in [0, 1]")
    ] = True,
    affine_strength: AffineStrength = 0.0,
    ema_decay: EmaDecay = 0.999,
) -> Recipe:
    """A convolutional classifier: two convolutions, two poolings, 500 units; 28x28 only.

    With few labels it is the baseline of the semi-supervised systems.

    | the course's slides | here | why |
    |---|---|---|
    | SGD; learning rate, batch and length not given | plain SGD, .1, 64, 8,500 rounds | 10 epochs of 54,000 images |
    | samples of the live weights | of the EMA weights | less noise in the samples; --ema-decay 0 |

    Measured (docs/results/autoencoders.md; seed 0, --lr 0.01 --momentum 0.9 --no-normalize, which were the defaults):
    .74 % of MNIST's test images wrong after 8,500 rounds in 90 seconds on one CPU thread. Plain SGD at .1 on normalized
    pixels was not measured at full length.
    """
    import torch

    from sparring.networks.classifier import mnist_net
    from sparring.networks.diffaug import with_distortion
    from sparring.systems.classifier import Classifier

    require_size("mnist-net", data.size, [28], others="mlp-classifier")
    classes = require_classes(data, "mnist-net")
    require_balanced(n_labeled, classes)
    return Recipe(
        system=Classifier(with_distortion(mnist_net(classes, data.channels, normalize=normalize), affine_strength)),
        optimizers={"classifier": partial(torch.optim.SGD, lr=lr, momentum=momentum)},
        batch=batch,
        rounds=8_500,
        ema_decay=ema_decay,
        streams=lambda dataset, seed: {"train": labeled_or_all(dataset, n_labeled, batch, seed)},
    )


@recipe(paper="Makhzani et al. 2016, Adversarial Autoencoders, arXiv 1511.05644, table 2: NN", size=28, classes=10)
def mlp_classifier(
    data: "Spec",
    *,
    n_labeled: Labeled = 100,
    width: Units = 1000,
    batch: Batch = 100,
    lr: Rate = 1e-3,
    affine_strength: AffineStrength = 0.0,
    ema_decay: EmaDecay = 0.999,
) -> Recipe:
    """A fully connected classifier, the baseline of the semi-supervised autoencoder.

    The paper has errors of 25.80, 8.73 and 1.25 % with 100, 1,000 and all labels, and does not say how it was trained.
    Adam is used here.

    Measured (docs/results/autoencoders.md; seed 0): 20.97, 9.58 and 1.27 % of MNIST's test images wrong with 100, 1,000
    and all labels, after .9, 1.1 and 2.9 minutes on one CPU thread.
    """
    import torch

    from sparring.networks.classifier import perceptron
    from sparring.networks.diffaug import with_distortion
    from sparring.systems.classifier import Classifier

    classes = require_classes(data, "mlp-classifier")
    require_balanced(n_labeled, classes)
    return Recipe(
        system=Classifier(with_distortion(perceptron(data.shape, width, classes), affine_strength)),
        optimizers={"classifier": partial(torch.optim.Adam, lr=lr)},
        batch=batch,
        rounds=5_400,
        ema_decay=ema_decay,
        streams=lambda dataset, seed: {"train": labeled_or_all(dataset, n_labeled, batch, seed)},
    )
