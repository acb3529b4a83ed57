"""What `python -m ubt bench` measures: training and encoding (`models`), encoding beside busy processes (`busy`),
stages over many pairs (`pairs`), a run on a GPU (`gpu`), the app over a large case (`app`), which is generated
(`case`), and its sliders (`walk`).
"""
