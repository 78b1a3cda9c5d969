// The seam. A solver sees a device only through these coarse operations, each of which a backend
// turns into one fused kernel over C. Vectors are float64 wherever C is float32 or float64.
//
//   e_ij = exp(phi_i + h_j - (C_ij - shift)/reg),  h_j = psi_j + log b_j,  P_ij = a_i e_ij
//
// with phi = f/reg and psi = g/reg. The dimensionless phi, psi are what solvers iterate on.
#pragma once
#include <array>
#include <concepts>

#include "core/status.hpp"
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
  double* gradient =
      nullptr;  // (n, d) sum_j P_ij dc(x_i, y_j)/dx_i, after the update; points only (cosine: times |x_i|)
};

// Plan entries kept by a pass: row i holds idx, val in [begin_i, end_i).
// Storage is the backend's and is reused; overflow tells that it was too small.
struct Kept {
  double threshold = 0;  // kept where e_ij > threshold * sum_j e_ij (update), a_i e_ij > threshold (none)
  index limit = 512;     // entries a row, on average, beyond which nothing useful is kept
  const std::int32_t* idx = nullptr;
  const double* val = nullptr;
  const index* begin = nullptr;
  const index* end = nullptr;
  index nnz = 0;
  bool overflow = false;  // more than the limit; the entries are then incomplete
};

// s_i = sum_j K_ij q_j; u_i = target_i / s_i (target given; 0 below kLeastSum); row_i = a_i u_i s_i; col_j = sum_i a_i
// u_i K_ij.
struct KernelPass {
  const double* q = nullptr;             // (m)
  const double* target = nullptr;        // (n)
  const double* a = nullptr;             // (n)
  Precision precision = Precision::f64;  // of the products; f32 for float32 kernels only
  double* u = nullptr;                   // (n)
  double* row = nullptr;                 // (n)
  double* col = nullptr;                 // (m)
};

template <class B>
concept Backend = requires(B be, const Geometry& geo, const Pass& p, const KernelPass& kp, Kept& kept,
                           typename B::Kernel& K, const std::array<const double*, 4>& D, const double* in, double* out,
                           void* any, index n, void (*f)(index, double*), void (*g)(index)) {
  { be.template buffer<double>(n).data() } -> std::same_as<double*>;
  { be.pass(geo, p) };
  { be.pass(geo, p, kept) };
  // Products with the kept entries T (n, m) of the last pass: out = T x, and out = T'y.
  { be.kept_apply(kept, n, in, out) };
  { be.kept_apply_transposed(kept, n, n, in, out) };
  { be.kept_diagonal(kept, n, n, in, out) };  // out_j = sum_i T_ij^2 w_i
  // An approximate factor of [[diag rows, -T], [-T', diag columns]]; false where there is none. Then
  // out = the columns' part of its inverse times (0, y).
  { be.kept_factor(kept, n, n, in, in) } -> std::same_as<bool>;
  { be.kept_solve(n, n, in, out) };
  { B::kFactorPays } -> std::convertible_to<index>;  // CG iterations without a factor that cost as much as one
  // Zeroes all but the `count` largest entries; returns the least one that stays
  // (the threshold where all do).
  { be.kept_largest(kept, n) } -> std::same_as<double>;
  // K_ij = exp(phi_i + psi_j - (C_ij - shift)/reg), stored in the precision asked for.
  { be.build_kernel(geo, n, in, in, Precision::f32, K) };
  { be.kernel_pass(K, kp) };
  // row_i = min_j C_ij - shift - g_j (g null: row is given), and col_j = min_i C_ij - shift - row_i where col is given.
  { be.c_transform(geo, in, out, in, out) };
  { be.cost_apply(geo, in, out) };  // out_i = sum_j (C_ij - shift) w_j
  { be.for_each(n, g) };            // element-wise
  { be.exp(n, in, out) };
  { be.log(n, in, out) };                    // of max(x, 2^-1022)
  { be.dots(n, in, in, D, int{}, out) };     // out_k = sum_j w_j v_j D_kj
  { be.combine(n, in, in, D, int{}, out) };  // out = x - sum_k c_k D_k
  // f(i, s) adds to s[0..N), and may write what belongs to i: the only operation that waits for the device.
  { be.template sums<2>(n, f)[0] };
};

}  // namespace ot
