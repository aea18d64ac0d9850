"""The one vocabulary of array shapes.

`D` is the dimension of the micro state that is simulated, `Y` of the state that is observed (equal to `D` without an
observation map), `d` of the coarse variable; `windows`, `walkers` and `frames` are batch axes, in that order.
"""

from typing import TypeAlias

from jaxtyping import Array, Bool, Float, Int, Key
from numpy import ndarray

State: TypeAlias = Float[Array, "D"]
Observed: TypeAlias = Float[Array, "Y"]
Coarse: TypeAlias = Float[Array, "d"]
Scalar: TypeAlias = Float[Array, ""]
Matrix: TypeAlias = Float[Array, "D D"]
Diffusion: TypeAlias = Float[Array, "D"] | Float[Array, "D D"]
PRNGKey: TypeAlias = Key[Array, ""]
Flag: TypeAlias = Bool[Array, ""]
Count: TypeAlias = Int[Array, ""]

States: TypeAlias = Float[ndarray, "n D"]
Coarses: TypeAlias = Float[ndarray, "n d"]
Values: TypeAlias = Float[ndarray, "n"]
Vectors: TypeAlias = Float[ndarray, "n d"]
Tensors: TypeAlias = Float[ndarray, "n d d"]
