// The kernel table of the best level that this processor has, or that OT_FAST_ISA lowers it to.
#pragma once
#include <string>
#include <vector>

#include "cpu/kernels.hpp"

namespace ot::cpu {

const Kernels& kernels();
std::vector<std::string> levels_built();
int default_threads();  // OT_FAST_NUM_THREADS, OMP_NUM_THREADS, then the affinity mask

}  // namespace ot::cpu
