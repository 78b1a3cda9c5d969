// The kernels of the CPU backend on a range of rows: what each is given, and the table of them, one an
// instruction-set level. Bodies are in cpu/kernels/. No standard library here (see cpu/kernels/level-inl.hpp).
//
// Words, from small to large:
//   panel  kPanel bytes of one coordinate of consecutive points y
//   tile   kTile columns of costs, whole panels, computed at once
//   block  rows whose exponentials are kept in cache until their sums are known (block_rows)
//   chunk  rows with column sums and kept entries of their own (cpu/workers.hpp)
#pragma once
#include "core/types.hpp"
#include "sparse/line_view.hpp"

namespace ot::cpu {

inline constexpr index kRows = 4;      // rows that share one load and store of a column sum
inline constexpr index kMaxRows = 16;  // rows of a block of high-dimensional points
inline constexpr index kHeld = 64;     // rows of column-major costs that are read at once: 256 bytes and more a column
inline constexpr index kTile = 480;    // columns
inline constexpr index kPanel = 192;   // bytes: 3 registers of 64 bytes, 6 of 32
inline constexpr index kAhead = 4096;  // bytes of C that are prefetched ahead of the exponentials
inline constexpr index kPad = 48;      // elements that kernels may read behind the end of yy: a panel of float32

// The region of one chunk in the storage of kept entries; the entries of row i are [begin_i, end_i) of the storage.
struct KeptRegion {
  double threshold = 0;         // see Kept
  index first = 0;              // row of the chunk
  std::int32_t* idx = nullptr;  // of the region
  double* val = nullptr;        // of the region
  index base = 0;               // offset of the region in the storage
  index capacity = 0;           // entries
  index* begin = nullptr;       // (n)
  index* end = nullptr;         // (n) beyond base + capacity where more was found than stored
};

// Sparse rows: the entries of row i are [begin_i, end_i).
struct SparseRows {
  const std::int32_t* idx;
  const double* val;
  const index* begin;
  const index* end;
};

// e_ij = exp(phi_i + h_j - (C_ij - shift)/reg). Null outputs are not computed.
struct PassArgs {
  Geometry geo;
  double inv_reg = 0;
  const double* h = nullptr;   // (m) psi_j + log b_j
  double* phi = nullptr;       // (n) NaN where unknown (update)
  const double* a = nullptr;   // (n)
  bool update = false;         // phi_i = damp (phi_i - log s_i); columns are then those of the updated plan
  double* row = nullptr;       // (n) s_i = sum_j e_ij, before the update
  double* col = nullptr;       // (m) += a_i e_ij, after the update
  double* cost = nullptr;      // (n) sum_j e_ij (C_ij - shift); not with update
  KeptRegion* kept = nullptr;  // of the chunk
  double damp = 1;             // see Pass
  double* gradient = nullptr;  // (n, d) sum_j P_ij dc(x_i, y_j)/dx_i, after the update
  void* work = nullptr;        // work_bytes
};

// Products with the plan: out (k, n) = P V for V (k, m), or out (k, m) += P'V for V (k, n) with `columns`.
struct ApplyArgs {
  PassArgs pass;
  const double* V = nullptr;
  double* out = nullptr;
  index k = 0;
  bool columns = false;
};

// s_i = sum_j K_ij q_j, u_i = target_i / s_i, col_j += a_i u_i K_ij.
struct KernelArgs {
  const void* K = nullptr;  // (n, m) with row stride ld: whole cache lines, zero in columns [m, ld)
  index m = 0, ld = 0;
  const void* q = nullptr;         // (m) in the type of the products, zero up to ld
  const double* target = nullptr;  // (n); null: u is read, not written
  const double* a = nullptr;       // (n)
  double* u = nullptr;             // (n)
  double* row = nullptr;           // (n) a_i u_i s_i; null: not computed
  double* col = nullptr;           // (m)
};

// row_i = min_j C_ij - shift - g_j, then col_j = min(col_j, C_ij - shift - row_i).
struct CTransformArgs {
  Geometry geo;
  const double* g = nullptr;       // (m); null: row is given
  double* row = nullptr;           // (n)
  double* col = nullptr;           // (m); null: not computed
  const double* weight = nullptr;  // (n) rows of weight 0 take no part in col; null: all do
  void* work = nullptr;            // work_bytes
};

// Pairs with f_i + g_j - (C_ij - shift) > -margin go to kept, C_ij - shift as their value.
struct CandidateArgs {
  Geometry geo;
  const double* f = nullptr;  // (n)
  const double* g = nullptr;  // (m)
  double margin = 0;
  KeptRegion* kept = nullptr;
  void* work = nullptr;  // work_bytes
};

// The k pairs of least r_ij = C_ij - shift - g_j - f_i of line l, by rising r, to [l k, (l + 1) k) of idx and cost; see
// NearestQuery.
struct NearestArgs {
  Geometry geo;
  const double* f = nullptr;  // (n)
  const double* g = nullptr;  // (m)
  index k = 1;
  double below = 0, rounding = 0;
  std::int32_t* idx = nullptr;
  double* cost = nullptr;
  double* least = nullptr;  // (lines)
  void* work = nullptr;     // work_bytes; for columns a tile of costs
};

// Kernels for rows [i0, i1) and, of vectors, for elements [j0, j1). [2]: float32, float64; where there are two such
// indices, the first is the type of C or of K, the second that of exponentials or products.
struct Kernels {
  const char* name = nullptr;
  void (*pass[2][2])(const PassArgs&, index i0, index i1);
  void (*apply_plan[2])(const ApplyArgs&, index i0, index i1);
  void (*plan_rows[2][2])(const PassArgs&, void* out, index ld, const double* scale, index i0, index i1);
  void (*kernel_pass[2][2])(const KernelArgs&, index i0, index i1);
  void (*c_transform[2])(const CTransformArgs&, index i0, index i1);
  void (*cost_apply[2])(const Geometry&, const double* w, double* out, void* work, index i0, index i1);
  void (*cost_rows[2])(const Geometry&, void* out, index ld, index i0, index i1);
  void (*stats[2])(const Geometry&, index i0, index i1, CostStats&);
  void (*candidates[2])(const CandidateArgs&, index i0, index i1);
  void (*row_minima[2])(const void* row, const double* v, index m, TwoLeast& out);
  void (*relax_row[2])(const void* row, index m, const RowStep&, Nearest& out);
  void (*column_minima[2])(const void* row, index m, index i, double* least, index* at);
  void (*nearest_in_rows[2])(const NearestArgs&, index i0, index i1);
  void (*nearest_in_columns[2])(const NearestArgs&, index j0, index j1);  // at most kTile columns
  void (*pair_costs[2])(const Geometry&, const std::int32_t* rows, const std::int32_t* columns, double* out, void* work,
                        index k0, index k1);  // work: a tile of costs
  void (*kept_product[2])(const SparseRows&, const double* x, double* out, index i0, index i1);  // [squared]
  void (*lines)(const LineView&, double* sums, index j0, index j1);
  void (*line_entries)(const LineView&, index j0, index j1);
  void (*line_step)(const LineSystem&);
  void (*exp)(const double* x, double* out, index n);
  void (*log)(const double* x, double* out, index n);  // of max(x, 2^-1022)
  void (*dots)(const double* w, const double* v, const double* const* d, int count, index n, double* out);
  void (*combine)(const double* x, const double* c, const double* const* d, int count, index n, double* out);
  void (*add_rows)(const double* rows, index count, index stride, index j0, index j1, double* out);
  double (*exp_rate[2])(index reps, double* sink);  // returns how many exponentials were evaluated
  double (*fma_rate[2])(index reps, double* sink);  // and how many fused multiply-adds
  double (*read)(const double* x, index n);         // sum of x
};

static constexpr index round_up(index n, index k) { return (n + k - 1) / k * k; }
// Elements between the rows of a block: an odd number of half cache lines modulo 4096 bytes. A load that follows a
// store 4096 bytes away would wait for it.
static constexpr index row_stride(index m) { return round_up(m, 512) + 40; }
// Rows of a block. High-dimensional points: many, so that a panel of y is read from L2 once for all of them; otherwise
// few, so that their exponentials stay in L1.
static constexpr index block_rows(const Geometry& g) {
  return g.kind == Kind::points && g.d >= 16 && g.m <= 16384 ? kMaxRows : kRows;
}
// Work space of a thread: the rows of a block in float64, then costs: a tile for each of these rows or, column-major,
// kHeld whole rows.
static constexpr std::size_t work_bytes(const Geometry& g) {
  const index costs = g.column_major ? kHeld * row_stride(g.m) : block_rows(g) * kTile;
  return static_cast<std::size_t>((block_rows(g) * row_stride(g.m) + costs) * 8);
}

}  // namespace ot::cpu
