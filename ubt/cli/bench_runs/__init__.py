"""What is measured: training and encoding (`models`), the app over a large case (`app`), which is generated
(`case`).
"""
