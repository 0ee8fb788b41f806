# Home Assistant answers this import with probatio, so that is what the types are.
from probatio import *
