// What the device can do at most: what passes are measured against.
#pragma once
#include "cuda/math.hpp"

namespace ot::cuda {

// kExponentials a thread and repetition.
template <class T>
struct ExpRate {
  static constexpr int kThreads = kMaxThreads, kBlocks = 1;
  static constexpr int kExponentials = 64;
  int repeat;
  double* out;

  template <class Team>
  OT_HD void operator()(Team& team) const {
    team.each([&](int t) {
      T sum = 0;
      double z = -1e-3 * t;
      for (int k = 0; k < repeat; ++k) {
        OT_UNROLL for (int l = 0; l < kExponentials; ++l) sum += exp2_of(z - 0.1 * l, T{});
        z -= 1e-6;
      }
      if (sum < 0) out[0] = static_cast<double>(sum);  // never true: keeps the compiler from dropping the loop
    });
  }
};

}  // namespace ot::cuda
