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
  const double* cost = nullptr;       // by entry
  const double* centre = nullptr;     // by entry (nullable)
  const double* b = nullptr;          // (lines)
  const double* alpha = nullptr;      // (others)
  double* beta = nullptr;             // (lines) in and out
  double* theta = nullptr;            // (lines) in and out
  double* t = nullptr;                // by entry, out where only they are asked for
  index* near = nullptr;              // (lines) out: the end of a line's positive t near its tie, and
  index* end = nullptr;               // (lines) out: of all of them, in
  std::int32_t* positive = nullptr;   // the others of those entries: from begin_j + kPad j on
  double* z = nullptr;                // scratch, laid out like `positive`
  double* val = nullptr;              // the same
};

}  // namespace ot
