"""What training and serving share: the series frame, the features, the exported forecaster.

A Bento takes this package along, so importing it must need neither pandas nor scikit-learn.
"""
