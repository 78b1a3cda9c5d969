// The vocabulary of the core: index type, costs, and the geometry view that every backend understands.
#pragma once
#include <cstddef>
#include <cstdint>

#if defined(__CUDACC__)
#define OT_HD __host__ __device__
#else
#define OT_HD
#endif

namespace ot {

using index = std::int64_t;

enum class DType : std::uint8_t { f32, f64 };
enum class Kind : std::uint8_t { dense, points };
enum class Cost : std::uint8_t { sqeuclidean, euclidean, cityblock, cosine, power };

// Arithmetic of the exponentials of a pass. Slacks f + g - C are float64 in either.
enum class Precision : std::uint8_t { f32, f64 };

// A cost matrix that is never copied: stored row-major, or computed from two point clouds.
// Points are x row-major (n, d) and y in the backend's own layout.
struct Geometry {
  Kind kind = Kind::dense;
  DType dtype = DType::f64;
  Cost cost = Cost::sqeuclidean;
  index n = 0, m = 0;
  const void* C = nullptr;  // dense: (n, m) with row stride ld
  index ld = 0;
  index d = 0;
  const void* x = nullptr;  // (n, d)
  const void* yt = nullptr;
  const void* xx = nullptr;  // (n) squared norms, sqeuclidean in product form only
  const void* yy = nullptr;  // (m)
  double shift = 0;          // min C: slacks are computed from C - shift
  double p = 2;              // power: |x - y|^p
};

// What a matrix of costs holds.
struct CostStats {
  double min, max;  // over finite entries
  index nan, neg_inf, pos_inf;
  index first_bad;  // flat index of the first NaN or -inf, -1 if none
};

// Row sums of a stored kernel from which on a row has a scaling: below, a_i u_i would overflow where T holds it.
template <class T>
inline constexpr double kLeastSum = sizeof(T) == 4 ? 1e-37 : 1e-290;

// The dual of sparse plans on candidate entries, which lie by lines: see solvers/lines.hpp.
struct LineView {
  static constexpr index kPad = 8;  // room for whole vectors behind a line
  index lines = 0, others = 0, k = 0;
  double reg = 0, sigma = 0;
  const index* begin = nullptr;       // (lines + 1)
  const std::int32_t* idx = nullptr;  // by entry
  const double* cost = nullptr;       // by entry, less sigma P of the proximal centre
  const double* b = nullptr;          // (lines)
  const double* alpha = nullptr;      // (others)
  double* beta = nullptr;             // (lines) in and out
  double* theta = nullptr;            // (lines) in and out
  double* t = nullptr;                // by entry, out where only they are asked for
  index* first = nullptr;             // (lines) out: the first of a line's positive t,
  index* near = nullptr;              // (lines) out: the end of those near its tie, and
  index* end = nullptr;               // (lines) out: of all of them, in
  std::int32_t* positive = nullptr;   // (begin_lines + kPad lines) the others of those entries
  double* z = nullptr;                // scratch, from begin_j + kPad j on
  double* val = nullptr;              // laid out like `positive`: their t
};

// H step = gradient for the Newton step on lines (solvers/curvature.hpp), by slices of eight lines and of
// eight others. With u and v the sums of x over the near and the top entries of a line,
//   q_near = near_near u + near_top v,  q_top = near_top u + top_top v,  (H x)_i = diagonal_i x_i - sum q.
// A slice has as many slots as its longest needs; eight indices make a slot.
struct LineSystem {
  index line_slices = 0, other_slices = 0;
  const index* line_slots = nullptr;        // (2 line_slices + 1): a slice's near entries, then its top ones
  const index* other_slots = nullptr;       // (other_slices + 1)
  const std::int32_t* line_idx = nullptr;   // others; behind the end of a line 8 other_slices
  const std::int32_t* other_idx = nullptr;  // places in q; behind the end of an other 16 line_slices
  // (8 line_slices)
  const double *near_near = nullptr, *near_top = nullptr, *top_top = nullptr;
  // (8 other_slices); direction has eight zeros more
  const double *diagonal = nullptr, *inverse = nullptr, *gradient = nullptr;
  double *step = nullptr, *residual = nullptr, *direction = nullptr, *product = nullptr;
  double* q = nullptr;  // (16 line_slices + 8): eight of the top, eight of the near, and so on; zero at its end
  double left = 0.1;    // of the L1 norm of the gradient, at most
};

}  // namespace ot
