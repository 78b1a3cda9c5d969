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

// first, ..., last - 1, for a loop.
struct Indices {
  struct Iterator {
    index i;
    constexpr index operator*() const { return i; }
    constexpr Iterator& operator++() { return ++i, *this; }
    constexpr bool operator!=(const Iterator& other) const { return i != other.i; }
  };
  index first = 0, last = 0;
  constexpr Iterator begin() const { return {first}; }
  constexpr Iterator end() const { return {last}; }
  constexpr index size() const { return last - first; }
};

enum class DType : std::uint8_t { f32, f64 };
enum class Kind : std::uint8_t { dense, points };
enum class Cost : std::uint8_t { sqeuclidean, euclidean, cityblock, cosine, power };

// Arithmetic of the exponentials of a pass. Slacks f + g - C are float64 in either.
enum class Precision : std::uint8_t { f32, f64 };

// A cost matrix that is never copied: stored, or computed from two point clouds.
// Points are x row-major (n, d) and y in the backend's own layout.
struct Geometry {
  Kind kind = Kind::dense;
  DType dtype = DType::f64;
  Cost cost = Cost::sqeuclidean;
  index n = 0, m = 0;
  const void* C = nullptr;  // dense: C_ij is entry i ld + j or, column-major, entry j ld + i
  bool column_major = false;
  index ld = 0;
  index d = 0;
  const void* x = nullptr;  // (n, d)
  const void* yt = nullptr;
  const void* xx = nullptr;  // (n) squared norms, sqeuclidean in product form only
  const void* yy = nullptr;  // (m)
  double shift = 0;          // min C: slacks are computed from C - shift
  double p = 2;              // power: |x - y|^p
};

// Statistics of a matrix of costs.
struct CostStats {
  double min, max;  // over finite entries
  index nan, neg_inf, pos_inf;
  index first_bad;  // flat index of the first NaN or -inf in the order of storage, -1 if none
};

// The two least of some numbers, and where the first of them stands.
struct TwoLeast {
  double least, second;
  index at;
};

// A step of Dijkstra's method from row `from`: d_j = min(d_j, C_ij - v_j - offset), with the row that it came by.
struct RowStep {
  const double* v = nullptr;
  double offset = 0;
  index from = 0;
  double* distance = nullptr;
  index* parent = nullptr;
};
struct Nearest {
  double distance;
  index column;
};

// The smallest row sum s_i of a stored kernel for which u_i = target_i / s_i is computed: below it, a_i u_i would
// overflow in the type T.
template <class T>
inline constexpr double kLeastSum = sizeof(T) == 4 ? 1e-37 : 1e-290;

}  // namespace ot
