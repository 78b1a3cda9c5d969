#include "cpu/dispatch.hpp"

#if defined(__linux__)
#include <sched.h>
#endif

#include <algorithm>
#include <cstdlib>
#include <stdexcept>
#include <thread>

namespace ot::cpu {

extern const Kernels kernels_baseline;
#if defined(OT_HAS_v3)
extern const Kernels kernels_v3, kernels_v4;
#endif

namespace {

// The highest level that this processor has, or the one that OT_FAST_ISA names.
const Kernels& choose() {
  const char* forced = std::getenv("OT_FAST_ISA");
  const std::string want = forced ? forced : "";
  std::vector<const Kernels*> usable = {&kernels_baseline};
#if defined(OT_HAS_v3)
  if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && __builtin_cpu_supports("bmi2")) {
    usable.push_back(&kernels_v3);
    if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512cd") &&
        __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl"))
      usable.push_back(&kernels_v4);
  }
#endif
  if (want.empty()) return *usable.back();
  std::string names;
  for (const Kernels* k : usable) {
    if (want == k->name) return *k;
    names += std::string(names.empty() ? "" : ", ") + k->name;
  }
  throw std::invalid_argument("OT_FAST_ISA must be one of " + names + " on this processor; got " + want);
}

// The number in an environment variable, 0 where there is none.
int number_in(const char* name) {
  const char* text = std::getenv(name);
  return text ? std::atoi(text) : 0;
}

}  // namespace

const Kernels& kernels() {
  static const Kernels& table = choose();
  return table;
}

std::vector<std::string> levels_built() {
#if defined(OT_HAS_v3)
  return {"baseline", "v3", "v4"};
#else
  return {"baseline"};
#endif
}

int default_threads() {
  for (const char* name : {"OT_FAST_NUM_THREADS", "OMP_NUM_THREADS"})
    if (const int n = number_in(name); n > 0) return n;
#if defined(__linux__)  // the processors that this process may use: fewer than there are in a container
  cpu_set_t set;
  if (sched_getaffinity(0, sizeof set, &set) == 0) return std::max(1, CPU_COUNT(&set));
#endif
  return static_cast<int>(std::max(1u, std::thread::hardware_concurrency()));
}

}  // namespace ot::cpu
