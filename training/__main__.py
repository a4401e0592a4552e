from training import stages
from data import params
import sys
P=params.load()
print(getattr(stages, sys.argv[1])(P))
