"""Published settings: functions that marry a system and networks. One line here makes a recipe known by name."""

RECIPES: dict[str, str] = {
    "goodfellow-mlp": "sparring.recipes.goodfellow:goodfellow_mlp",
    "cs231n-mlp": "sparring.recipes.cs231n:cs231n_mlp",
    "cs231n-lsgan": "sparring.recipes.cs231n:cs231n_lsgan",
    "cs231n-dcgan": "sparring.recipes.cs231n:cs231n_dcgan",
    "raschka-mlp": "sparring.recipes.raschka:raschka_mlp",
    "csc321-mlp": "sparring.recipes.csc321:csc321_mlp",
    "dcgan": "sparring.recipes.radford:dcgan",
    "wgan": "sparring.recipes.wasserstein:wgan",
    "wgan-gp": "sparring.recipes.wasserstein:wgan_gp",
    "r1gan": "sparring.recipes.mescheder:r1gan",
    "r3gan": "sparring.recipes.r3gan:r3gan",
    "wgan-gp-resnet": "sparring.recipes.wasserstein:wgan_gp_resnet",
    "cgan": "sparring.recipes.conditional:cgan",
    "acgan": "sparring.recipes.conditional:acgan",
    "infogan": "sparring.recipes.conditional:infogan",
    "biggan": "sparring.recipes.biggan:biggan",
    "biggan-small": "sparring.recipes.biggan:biggan_small",
    "biggan-deep": "sparring.recipes.biggan:biggan_deep",
    "improved-gan": "sparring.recipes.improved:improved_gan",
}
