// Compiled once per instruction-set level (OT_LEVEL) into a namespace of its own.
// No STL: a shared inline compiled here for AVX-512 could be the copy that the linker keeps.
#include "cpu/kernels-inl.hpp"
