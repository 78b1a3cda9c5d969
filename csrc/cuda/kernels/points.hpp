// Points as the kernels read them (cuda/costs.hpp).
#pragma once
#include "cuda/math.hpp"

namespace ot::cuda {

// x (n, d) and y transposed to (d, m), less a centre, or of norm 1 for the cosine; their squared norms where asked for.
// A thread a point.
template <class T>
struct PackPoints {
  const T *x, *y;
  index n, m, d;
  const double* centre;  // (d); null: 0
  bool normalise;
  T *to_x, *to_y;
  T *xx, *yy;  // squared norms, nullable

  // Point p of x, then of y.
  OT_HD void operator()(index p) const {
    const bool of_x = p < n;
    const index q = of_x ? p : p - n;
    const T* from = (of_x ? x : y) + q * d;
    double square = 0, scale = 1;
    if (normalise) {
      for (index k = 0; k < d; ++k) square += static_cast<double>(from[k]) * static_cast<double>(from[k]);
      scale = 1 / sqrt(square);
    }
    square = 0;
    for (index k = 0; k < d; ++k) {
      const T v = static_cast<T>((static_cast<double>(from[k]) - (centre ? centre[k] : 0.0)) * scale);
      (of_x ? to_x[q * d + k] : to_y[k * m + q]) = v;
      square += static_cast<double>(v) * static_cast<double>(v);
    }
    if (xx) (of_x ? xx : yy)[q] = static_cast<T>(square);
  }
};
// centre_k = mean of coordinate k over both clouds, one team a coordinate.
template <class T>
struct Centre {
  static constexpr int kThreads = kMaxThreads, kBlocks = 1;
  const T *x, *y;
  index n, m, d;
  double* centre;

  template <class Team>
  OT_HD void operator()(Team& team) const {
    typename Team::template Local<Reg<double, 1>> part(team);
    for (index k = team.id; k < d; k += team.count) {
      team.each([&](int t) {
        double s = 0;
        for (index p = team.lane(t).thread; p < n + m; p += team.threads)
          s += static_cast<double>(p < n ? x[p * d + k] : y[(p - n) * d + k]);
        part[t][0] = s;
      });
      const double total = team.sum(part)[0];
      if (team.leader) centre[k] = total / static_cast<double>(n + m);
    }
  }
};

}  // namespace ot::cuda
