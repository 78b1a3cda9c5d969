// The seam. A solver sees a device only through these coarse operations, each of which a backend
// turns into one fused kernel over C. Vectors are float64 wherever C is float32 or float64, and live where the
// backend computes; only `read` and `write` reach the host.
//
//   e_ij = exp(phi_i + h_j - (C_ij - shift)/reg),  h_j = psi_j + log b_j,  P_ij = a_i e_ij
//
// with phi = f/reg and psi = g/reg. The dimensionless phi, psi are what solvers iterate on.
#pragma once
#include <array>
#include <concepts>
#include <cstdint>

#include "core/buffer.hpp"
#include "core/monitor.hpp"
#include "core/types.hpp"

namespace ot {

// One pass over C. Null outputs are not computed.
struct Pass {
  double reg = 0;
  const double* h = nullptr;  // (m)
  double* phi = nullptr;      // (n), in and out; NaN where unknown (update only)
  const double* a = nullptr;  // (n)
  bool update = false;        // phi_i -= log s_i first: the rows of the plan are then exactly a
  double damp = 1;            // phi_i = damp (phi_i - log s_i): marginals relaxed by rho KL, damp = rho/(rho + reg)
  Precision precision = Precision::f64;
  double* row = nullptr;   // (n) s_i = sum_j e_ij before the update
  double* col = nullptr;   // (m) sum_i a_i e_ij, after the update
  double* cost = nullptr;  // (n) sum_j e_ij (C_ij - shift); not with update
  // (n, d) sum_j P_ij dc(x_i, y_j)/dx_i, after the update; points only. For the cosine cost it is times |x_i|.
  double* gradient = nullptr;
};

// Plan entries kept by a pass: row i holds idx, val in [begin_i, end_i). The storage is the backend's, and the next
// pass that keeps entries or finds candidates overwrites it. `version` tells which pass filled it: a backend refuses
// entries that were overwritten (std::logic_error). Entries of version 0 are the caller's own.
struct Kept {
  // With update, e_ij > threshold * sum_j e_ij is kept; without, a_i e_ij > threshold.
  double threshold = 0;
  index limit = 512;  // entries a row, on average
  const std::int32_t* idx = nullptr;
  const double* val = nullptr;
  const index* begin = nullptr;
  const index* end = nullptr;
  index nnz = 0;
  bool overflow = false;      // more entries than the limit: those kept are incomplete
  std::uint64_t version = 0;  // of the storage
};
inline constexpr const char* kStaleKept = "kept entries were used after a later pass had overwritten them";

// One product with a stored kernel K, which is read once:
//   s_i = sum_j K_ij q_j,  u_i = target_i / s_i where a target is given (0 where s_i < kLeastSum),
//   row_i = a_i u_i s_i,  col_j = sum_i a_i u_i K_ij.
struct KernelPass {
  const double* q = nullptr;             // (m)
  const double* target = nullptr;        // (n)
  const double* a = nullptr;             // (n)
  Precision precision = Precision::f64;  // of the products; f32 for float32 kernels only
  double* u = nullptr;                   // (n) out where a target is given, else in
  double* row = nullptr;                 // (n)
  double* col = nullptr;                 // (m)
};

// Entries with f_i + g_j - (C_ij - shift) > -margin, by rows of C, with their costs C_ij - shift, on the host.
struct Candidates {
  Buffer<index> begin;  // (n + 1)
  Buffer<std::int32_t> idx;
  Buffer<double> cost;
  index nnz = 0;
  bool overflow = false;  // more entries than the limit: none is stored, and nnz counts them
};

// The k pairs of least reduced cost r_ij = C_ij - shift - f_i - g_j in every row, or in every column, among those with
// r_ij < below - rounding (|C_ij - shift| + |f_i| + |g_j|). Vectors are the host's; -inf in f or g leaves a row or a
// column out.
struct NearestQuery {
  const double* f = nullptr;  // (n)
  const double* g = nullptr;  // (m)
  index k = 1;
  double below = 0, rounding = 0;
};

// The pairs of line l (a row or a column) are [l k, (l + 1) k), by rising r; missing ones have the index -1.
struct NearestPairs {
  index k = 0;
  Buffer<std::int32_t> idx;
  Buffer<double> cost;   // C_ij - shift
  Buffer<double> least;  // (lines) the least r of all pairs; infinite where there is none
  void reserve(index lines, index most) {
    k = most;
    idx.reserve(lines * k);
    cost.reserve(lines * k);
    least.reserve(lines);
  }
};

// Points as the kernels of a backend read them: the memory behind x, yt, xx, yy of a geometry.
struct PackedPoints {
  Buffer<char> x, y, xx, yy;
};

// Whether squared distances are expanded as |x|^2 + |y|^2 - 2 x.y: a product of matrices, which pays from d = 8 on.
inline bool expands_squares(const Geometry& g) { return g.cost == Cost::sqeuclidean && g.d >= 8; }

template <class B>
concept Vectors = requires(B be, index n, const double* in, double* out, const std::array<const double*, 4>& D,
                           int count, void (*f)(index), void (*add)(index, double*)) {
  { be.template buffer<double>(n).data() } -> std::same_as<double*>;
  { be.write(n, in, out) };  // from the host
  { be.read(n, in, out) };   // to the host; the values are there when it returns
  { be.for_each(n, f) };
  { be.exp(n, in, out) };
  { be.log(n, in, out) };                    // of max(x, 2^-1022)
  { be.dots(n, in, in, D, count, out) };     // out_k = sum_j w_j v_j D_kj; waits for the device
  { be.combine(n, in, in, D, count, out) };  // out = x - sum_k c_k D_k
  // add(i, s) adds to s[0..N), and may write what belongs to i; waits for the device.
  { be.template sums<2>(n, add)[0] };
};

template <class B>
concept Passes = requires(B be, const Geometry& geo, const Pass& p, const double* in, double* out) {
  { be.pass(geo, p) };
  // row_i = min_j C_ij - shift - g_j (g null: row is given), and col_j = min_i C_ij - shift - row_i over rows of
  // positive weight (weight null: all), where col is given.
  { be.c_transform(geo, in, out, in, out) };
};

// Products with the kept entries T (n, m) of the last pass.
template <class B>
concept KeptEntries =
    requires(B be, const Geometry& geo, const Pass& p, Kept& kept, index n, const double* in, double* out) {
      { be.pass(geo, p, kept) };
      { be.kept_apply(kept, n, in, out) };                // out = T x
      { be.kept_apply_transposed(kept, n, n, in, out) };  // out = T'y
      { be.kept_diagonal(kept, n, n, in, out) };          // out_j = sum_i T_ij^2 w_i
      // Sets all but the n largest entries to 0; returns the smallest entry that stays, or the threshold where all do.
      { be.kept_largest(kept, n) } -> std::same_as<double>;
      // An approximate factor of [[diag rows, -T], [-T', diag columns]]; false where the entries are too many for one.
      // kept_solve: out = the columns' part of its inverse times (0, y).
      { be.kept_factor(kept, n, n, in, in) } -> std::same_as<bool>;
      { be.kept_solve(n, n, in, out) };
      { B::kFactorPays } -> std::convertible_to<index>;  // CG iterations that cost as much as a factor
    };

template <class B>
concept StoredKernel =
    requires(B be, const Geometry& geo, double reg, const double* in, typename B::Kernel& K, const KernelPass& p) {
      // K_ij = exp(phi_i + psi_j - (C_ij - shift)/reg), stored in the precision asked for.
      { be.build_kernel(geo, reg, in, in, Precision::f32, K) };
      { be.kernel_pass(K, p) };
    };

// Reduced costs of all pairs: one pass over C copies the pairs within the margin to the host. f and g are the host's;
// -inf leaves a row or a column out. On the backend the storage is that of kept entries, which are overwritten.
template <class B>
concept Pricing =
    requires(B be, const Geometry& geo, const double* f, const double* g, double margin, index limit, Candidates& to) {
      { be.candidates(geo, f, g, margin, limit, to) };
    };

// To the host. The first two are one pass over C each.
template <class B>
concept NearestLines = requires(B be, const Geometry& geo, const NearestQuery& query, NearestPairs& to,
                                const std::int32_t* idx, index count, double* out) {
  { be.nearest_in_rows(geo, query, to) };
  { be.nearest_in_columns(geo, query, to) };
  { be.pair_costs(geo, idx, idx, count, out) };  // out_k = C_ij - shift of the pair (i, j) = (rows_k, columns_k)
};

// Passes that read costs and plans, for results and losses. No solver needs them.
template <class B>
concept PlanReads = requires(B be, const Geometry& geo, const Pass& p, const double* in, double* out, void* rows,
                             index n, bool columns) {
  { be.stats(geo) } -> std::same_as<CostStats>;
  { be.cost_rows(geo, rows, n) };           // C into rows of stride n, in its dtype
  { be.cost_apply(geo, in, out) };          // out_i = sum_j (C_ij - shift) w_j
  { be.plan_rows(geo, p, n, n, rows, n) };  // rows [first, last) of the plan, in the precision of the pass
  // out = P V for V (k, m), or P'V for V (k, n) with columns; both row-major, P is not stored.
  { be.apply_plan(geo, p, in, n, columns, out) };
};

template <class B>
concept Backend = Vectors<B> && Passes<B> && KeptEntries<B> && StoredKernel<B>;

}  // namespace ot
