"""detectron2, driven from recipes: nothing outside this folder imports it."""
